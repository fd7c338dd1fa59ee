//! For programs.

use super::{Report, Results, Row};
use crate::versus::measure::Metric;
use serde_json::{Map, Value, json};

impl Report {
    /// Every figure of every trial, with medians and ratios. Times are seconds, the rest bytes.
    pub fn json(&self) -> Value {
        let absent = self
            .absent
            .iter()
            .map(|absent| json!({ "peer": absent.peer, "program": absent.program, "package": absent.package }));
        json!({
            "rounds": self.rounds,
            "scale": self.scale,
            "rows": self.rows.iter().map(row).collect::<Value>(),
            "absent": absent.collect::<Value>(),
            "failures": self.failures,
        })
    }
}

fn row(row: &Row) -> Value {
    let peers = row.peers.iter().map(|results| peer(results, row.ratio(results)));
    json!({ "name": row.name, "what": row.what, "peers": peers.collect::<Value>() })
}

fn peer(results: &Results, ratio: Option<f64>) -> Value {
    let mut object =
        Map::from_iter([("peer".to_owned(), results.peer.into()), ("ours_to_its".to_owned(), ratio.into())]);
    for (metric, figures) in &results.figures {
        let value = json!({ "median": results.median(*metric), "trials": figures });
        object.insert(key(*metric).to_owned(), value);
    }
    if let Some((min, max, p95)) = results.spread() {
        let time = &mut object[key(Metric::Seconds)];
        (time["min"], time["max"], time["p95"]) = (min.into(), max.into(), p95.into());
    }
    Value::Object(object)
}

fn key(metric: Metric) -> &'static str {
    match metric {
        Metric::Seconds => "time_s",
        Metric::Cpu => "cpu_s",
        Metric::Wire => "wire_bytes",
        Metric::Again => "again_bytes",
        Metric::Peak => "peak_bytes",
        Metric::PeakLeft => "sender_peak_bytes",
        Metric::PeakRight => "receiver_peak_bytes",
        Metric::Idle => "idle_bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::report::tests::example;

    #[test]
    fn every_trial_is_there() {
        let json = example().json();
        let [ours, cp] = [0, 1].map(|n| json["rows"][0]["peers"][n].clone());
        assert_eq!(ours["time_s"]["trials"], json!([1.0, 2.0]));
        assert_eq!((&ours["wire_bytes"]["median"], &cp["wire_bytes"]), (&json!(3e6), &Value::Null));
        assert_eq!((&cp["ours_to_its"], &cp["time_s"]["max"]), (&json!(0.375), &json!(6.0)));
        assert_eq!(json["absent"][0]["package"], "unison");
    }
}
