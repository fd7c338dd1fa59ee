//! Logs: plain lines on stderr, so that stdout stays data.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging for this process. What is logged is said by `--verbose` (once: debug, twice: trace), else by
/// `LANDROPIC_LOG`, else by `RUST_LOG`, else by the settings, else it is `info`.
///
/// # Errors
/// A filter that cannot be understood, naming where it comes from.
pub fn init(verbose: u8, settings: Option<&str>) -> anyhow::Result<()> {
    let env = |key| std::env::var(key).ok().filter(|v: &String| !v.is_empty());
    let (source, filter) = choose(verbose, env("LANDROPIC_LOG"), env("RUST_LOG"), settings);
    let parsed = EnvFilter::builder().parse(&filter);
    let parsed =
        parsed.map_err(|e| anyhow::anyhow!("{source} '{filter}' is no log filter: {e}: try 'info' or 'debug'"))?;
    let colour = std::io::stderr().is_terminal() && env("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_ansi(colour);
    // A process that logs already, such as a test, goes on as it does.
    if let Err(error) = lines.try_init() {
        tracing::debug!(error, "logging has been started before");
    }
    Ok(())
}

/// The filter and where it comes from.
fn choose(verbose: u8, own: Option<String>, common: Option<String>, settings: Option<&str>) -> (&'static str, String) {
    match (verbose, own, common, settings) {
        (1, ..) => ("--verbose", "debug".to_owned()),
        (2.., ..) => ("--verbose", "trace".to_owned()),
        (0, Some(own), ..) => ("LANDROPIC_LOG", own),
        (0, None, Some(common), _) => ("RUST_LOG", common),
        (0, None, None, Some(settings)) => ("the setting log", settings.to_owned()),
        (0, None, None, None) => ("the default", "info".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_on_what_is_logged_counts() {
        let some = |text: &str| Some(text.to_owned());
        let check = |got: (&str, String), want: &str| assert_eq!(got.1, want);
        check(choose(1, some("a"), some("b"), Some("c")), "debug");
        check(choose(5, None, None, None), "trace");
        check(choose(0, some("a"), some("b"), Some("c")), "a");
        check(choose(0, None, some("b"), Some("c")), "b");
        check(choose(0, None, None, Some("c")), "c");
        check(choose(0, None, None, None), "info");
    }
}
