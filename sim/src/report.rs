//! The report: every scenario under every condition, as Markdown and as one HTML page that needs nothing else.

use crate::conditions::Condition;
use crate::scenarios::{ALL, Run, run};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// One MiB, in bytes.
const MIB: f64 = 1_048_576.0;
/// One colour for each condition, told apart by people who see few colours too.
const COLOURS: [&str; 5] = ["#0072b2", "#009e73", "#d55e00", "#cc79a7", "#e69f00"];
/// Measures of the plots, pixels.
const WIDTH: f64 = 860.0;
/// Room for the names of scenarios.
const LABEL: f64 = 180.0;
/// Height of a bar.
const BAR: f64 = 9.0;
/// Between two scenarios.
const GAP: f64 = 12.0;

/// Writes the report, and says how it went. Fails if a scenario fails or the files cannot be written.
#[allow(clippy::print_stdout)]
pub fn show(dir: &Path) -> ExitCode {
    match report(dir) {
        Ok(runs) => {
            let (good, dir) = (runs.iter().filter(|run| run.success).count(), dir.display());
            println!("{good} of {} runs succeeded: see {dir}/report.html and {dir}/report.md", runs.len());
            if good == runs.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            println!("the report cannot be written to {}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

/// Runs every scenario under every condition, and writes `report.md` and `report.html` to `out`, which is made if it is
/// missing. Returns the runs.
///
/// # Errors
/// The directory cannot be written to.
pub fn report(out: &Path) -> io::Result<Vec<Run>> {
    fs::create_dir_all(out)?;
    let pairs = ALL.iter().flat_map(|scenario| Condition::ALL.map(|condition| (scenario, condition)));
    let runs: Vec<Run> = pairs.map(|(scenario, condition)| run(scenario, condition)).collect();
    fs::write(out.join("report.md"), markdown(&runs))?;
    fs::write(out.join("report.html"), html(&runs))?;
    Ok(runs)
}

/// A column of the table of runs, and how it is filled.
type Column = (&'static str, fn(&Run) -> String);

/// The table of runs.
const COLUMNS: [Column; 11] = [
    ("scenario", |run| run.scenario.to_owned()),
    ("condition", |run| run.condition.name().to_owned()),
    ("result", |run| if run.success { "ok".to_owned() } else { "**failed**".to_owned() }),
    ("time (s)", |run| format!("{:.2}", run.convergence_secs)),
    ("deadline (s)", |run| run.deadline_secs.to_string()),
    ("throughput (MiB/s)", |run| format!("{:.3}", run.throughput / MIB)),
    ("datagrams", |run| run.datagrams.to_string()),
    ("on the wire (MiB)", |run| format!("{:.2}", run.wire_bytes as f64 / MIB)),
    ("lost (%)", |run| format!("{:.2}", run.loss * 100.0)),
    ("under way (ms)", |run| format!("{:.1}", run.delay_ms)),
    ("resumed / again (MiB)", |run| {
        format!("{:.1} / {:.1}", run.resumed_bytes as f64 / MIB, run.refetched_bytes as f64 / MIB)
    }),
];

/// The columns of the table of conditions, and how each is filled.
const SUMMARY: [&str; 5] = ["condition", "succeeded", "under way (ms)", "lost (%)", "links"];

/// One line for each condition.
fn summary(runs: &[Run]) -> Vec<[String; 5]> {
    let line = |condition: Condition| {
        let of: Vec<&Run> = runs.iter().filter(|run| run.condition == condition).collect();
        let good = of.iter().filter(|run| run.success).count();
        // Of the scenario that leaves links as the condition has them and moves most.
        let plain = of.iter().find(|run| run.scenario == "adaptive-profile");
        let way = condition.way();
        let rate = if way.rate == 0 { "no limit".to_owned() } else { format!("{} kB/s", way.rate / 1_000) };
        [
            condition.name().to_owned(),
            format!("{good} of {}", of.len()),
            plain.map_or_else(String::new, |run| format!("{:.1}", run.delay_ms)),
            plain.map_or_else(String::new, |run| format!("{:.2}", run.loss * 100.0)),
            format!("{} ms each way, {} % lost, {rate}", way.latency_us / 1_000, way.loss_ppm as f64 / 1e4),
        ]
    };
    Condition::ALL.map(line).to_vec()
}

const INTRODUCTION: &str = "Each run is the shipping shell of two to four devices, with real QUIC, TLS, SQLite and files, on a \
simulated network and simulated time. Success means that every device shows the same files with the same hashes, and says so, \
before the deadline. Times are virtual; the same build gives the same figures, to the last bit of every datagram.";

fn markdown(runs: &[Run]) -> String {
    let mut out = format!("# Scenarios\n\n{INTRODUCTION}\n\n## Conditions\n\n");
    let row = |out: &mut String, cells: &[String]| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    };
    let head = |out: &mut String, names: &[&str]| {
        row(out, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        row(out, &names.iter().map(|_| "---".to_owned()).collect::<Vec<_>>());
    };
    head(&mut out, &SUMMARY);
    summary(runs).iter().for_each(|cells| row(&mut out, cells));
    out.push_str("\n## Runs\n\n");
    head(&mut out, &COLUMNS.map(|(name, _)| name));
    for run in runs {
        row(&mut out, &COLUMNS.map(|(_, fill)| fill(run)));
    }
    let failures = runs.iter().flat_map(|run| run.failures.iter().map(move |failure| (run, failure)));
    for (i, (run, failure)) in failures.enumerate() {
        out.push_str(if i == 0 { "\n## Failures\n\n" } else { "" });
        let _ = writeln!(out, "- {} under {}: {failure}", run.scenario, run.condition.name());
    }
    out.push_str("\n## What the scenarios are\n\n");
    for scenario in ALL {
        let _ = writeln!(out, "- **{}**: {}", scenario.name, scenario.about);
    }
    out
}

fn html(runs: &[Run]) -> String {
    let table = |names: &[&str], rows: Vec<Vec<String>>| {
        let head: String = names.iter().map(|name| format!("<th>{}</th>", escape(name))).collect();
        let cell = |text: &String| format!("<td>{}</td>", escape(&text.replace("**", "")));
        let rows: String =
            rows.iter().map(|row| format!("<tr>{}</tr>\n", row.iter().map(cell).collect::<String>())).collect();
        format!("<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table>\n")
    };
    let conditions = table(&SUMMARY, summary(runs).into_iter().map(Vec::from).collect());
    let details = table(
        &COLUMNS.map(|(name, _)| name),
        runs.iter().map(|run| COLUMNS.map(|(_, fill)| fill(run)).to_vec()).collect(),
    );
    let time = plot(runs, "Convergence time, seconds (logarithmic)", |run| run.convergence_secs);
    let throughput = plot(runs, "Throughput, MiB/s (logarithmic)", |run| run.throughput / MIB);
    let failures: String = runs
        .iter()
        .flat_map(|run| {
            run.failures.iter().map(move |f| format!("{} under {}: {f}", run.scenario, run.condition.name()))
        })
        .map(|text| format!("<li>{}</li>\n", escape(&text)))
        .collect();
    let failures = if failures.is_empty() { "<p>None.</p>".to_owned() } else { format!("<ul>{failures}</ul>") };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>landropic: scenarios</title>\n<style>{STYLE}</style>\
         </head><body>\n<h1>Scenarios</h1>\n<p>{INTRODUCTION}</p>\n<h2>Conditions</h2>\n{conditions}<h2>Convergence time</h2>\n\
         {time}<h2>Throughput</h2>\n{throughput}<h2>Runs</h2>\n{details}<h2>Failures</h2>\n{failures}\n</body></html>\n"
    )
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;\
text-align:left;white-space:nowrap}svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:currentColor}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td{border-color:#444}}";

/// Bars on a logarithmic scale: a group for each scenario, a bar for each condition.
fn plot(runs: &[Run], title: &str, value: impl Fn(&Run) -> f64) -> String {
    let values: Vec<f64> = runs.iter().map(&value).filter(|v| *v > 0.0).collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values.iter().copied().fold(0.0_f64, f64::max).log10().ceil();
    let span = (high - low).max(1.0);
    let room = WIDTH - LABEL - 60.0;
    let x = |v: f64| LABEL + (v.max(1e-9).log10() - low).max(0.0) / span * room;
    let group = BAR * Condition::ALL.len() as f64 + GAP;
    let height = 50.0 + group * ALL.len() as f64 + 20.0;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n<text x=\"0\" y=\"14\">{}</text>\n",
        escape(title),
        escape(title)
    );
    for (i, condition) in Condition::ALL.into_iter().enumerate() {
        let at = LABEL + 120.0 * i as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{at}\" y=\"22\" width=\"10\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"31\">{}</text>",
            COLOURS[i],
            at + 15.0,
            condition.name()
        );
    }
    let mut power = low;
    while power <= low + span {
        let at = x(10_f64.powf(power));
        let _ = writeln!(
            out,
            "<line x1=\"{at}\" x2=\"{at}\" y1=\"42\" y2=\"{}\" stroke=\"currentColor\" stroke-opacity=\"0.2\"/>\
             <text x=\"{at}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            height - 20.0,
            height - 5.0,
            10_f64.powf(power)
        );
        power += 1.0;
    }
    for (i, scenario) in ALL.iter().enumerate() {
        let top = 45.0 + group * i as f64;
        let middle = top + BAR * 3.0;
        let _ =
            writeln!(out, "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>", LABEL - 8.0, scenario.name);
        for run in runs.iter().filter(|run| run.scenario == scenario.name) {
            let at = Condition::ALL.iter().position(|condition| *condition == run.condition).unwrap_or_default();
            let (v, y) = (value(run), top + BAR * at as f64);
            let width = (x(v) - LABEL).max(1.0);
            let _ = writeln!(
                out,
                "<rect x=\"{LABEL}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"{}><title>{} {}: {v:.3}</title></rect>",
                BAR - 1.0,
                COLOURS[at],
                if run.success { "" } else { " fill-opacity=\"0.3\"" },
                scenario.name,
                run.condition.name(),
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
