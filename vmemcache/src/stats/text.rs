//! Statistics as text for other programs.

use super::{Latencies, Stats};
use crate::events::Cause;
use std::fmt::Write;

/// Name, whether it only rises, meaning, value.
type Row = (&'static str, bool, &'static str, u64);

impl Stats {
    fn rows(&self) -> [Row; 13] {
        [
            ("hits", true, "Gets that found something.", self.hits),
            ("misses", true, "Gets that found nothing.", self.misses),
            ("inserted", true, "Entries that came in.", self.inserted),
            ("replaced", true, "Values that took the place of others.", self.replaced),
            ("chained", true, "Values stored in several pieces.", self.chained),
            ("entries", false, "Entries now.", self.entries),
            ("payload_bytes", false, "Keys and values.", self.payload_bytes),
            ("used_bytes", false, "What entries take of the pool.", self.used_bytes),
            ("free_bytes", false, "What is free for entries.", self.free_bytes),
            ("pinned_bytes", false, "What readers keep from being freed.", self.pinned_bytes),
            ("free_regions", false, "Separate free regions.", self.free_regions),
            ("pool_bytes", false, "The size of the pool.", self.pool_bytes),
            ("metadata_bytes", false, "DRAM for entries.", self.metadata_bytes),
        ]
    }

    /// All numbers as a JSON object; those that left as an object `left` by cause, `tail_age_ms` once something was evicted,
    /// `miss_ratio_curve` as an array of arrays of bytes and ratio, and `latencies_ns` by operation, if they are measured.
    pub fn to_json(&self) -> String {
        let mut text = String::from("{");
        for (name, _, _, value) in self.rows() {
            // Writing into a string cannot fail.
            let _ = write!(text, "\"{name}\":{value},");
        }
        text.push_str("\"left\":{");
        for (at, cause) in Cause::ALL.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(text, "{comma}\"{}\":{}", cause.name(), self.left(cause));
        }
        text.push('}');
        if let Some(age) = self.tail_age {
            let _ = write!(text, ",\"tail_age_ms\":{}", age.as_millis());
        }
        for (at, point) in self.miss_ratio_curve.iter().enumerate() {
            let start = if at == 0 { ",\"miss_ratio_curve\":[" } else { "," };
            let (whole, part) =
                (point.misses_per_million / 1_000_000, point.misses_per_million % 1_000_000);
            let _ = write!(text, "{start}[{},{whole}.{part:06}]", point.bytes);
        }
        if !self.miss_ratio_curve.is_empty() {
            text.push(']');
        }
        if let Some(latencies) = &self.latencies {
            latencies_json(&mut text, latencies);
        }
        text.push('}');
        text
    }

    /// All numbers in the text format of Prometheus, as `vmemcache_...{cache="name"}`.
    ///
    /// # Examples
    /// ```
    /// let cache = vmemcache::Cache::builder().size(1 << 20).anonymous()?;
    /// let text = cache.stats().to_prometheus("sessions");
    /// assert!(text.contains("vmemcache_hits_total{cache=\"sessions\"} 0\n"));
    /// # Ok::<(), vmemcache::Error>(())
    /// ```
    pub fn to_prometheus(&self, cache: &str) -> String {
        let label = cache.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let mut text = String::new();
        for (name, rises, help, value) in self.rows() {
            let (suffix, kind) = if rises { ("_total", "counter") } else { ("", "gauge") };
            let name = format!("vmemcache_{name}{suffix}");
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            let _ = writeln!(text, "{name}{{cache=\"{label}\"}} {value}");
        }
        let name = "vmemcache_left_total";
        let _ = writeln!(text, "# HELP {name} Entries that left.\n# TYPE {name} counter");
        for cause in Cause::ALL {
            let (value, cause) = (self.left(cause), cause.name());
            let _ = writeln!(text, "{name}{{cache=\"{label}\",cause=\"{cause}\"}} {value}");
        }
        if let Some(age) = self.tail_age {
            let name = "vmemcache_tail_age_seconds";
            let _ = writeln!(text, "# HELP {name} Age of evicted entries.\n# TYPE {name} gauge");
            let _ = writeln!(text, "{name}{{cache=\"{label}\"}} {:.6}", age.as_secs_f64());
        }
        if let Some(latencies) = &self.latencies {
            latencies_prometheus(&mut text, latencies, &label);
        }
        text
    }
}

fn latencies_json(text: &mut String, latencies: &Latencies) {
    text.push_str(",\"latencies_ns\":{");
    for (at, (name, latency)) in latencies.by_name().into_iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\"{name}\":{{\"count\":{},", latency.count);
        for (name, _, nanos) in latency.quantiles() {
            let _ = write!(text, "\"{name}\":{nanos},");
        }
        let _ = write!(text, "\"max\":{},\"sum\":{}}}", latency.max_ns, latency.sum_ns);
    }
    text.push('}');
}

/// Prometheus counts in seconds.
fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn latencies_prometheus(text: &mut String, latencies: &Latencies, label: &str) {
    let name = "vmemcache_latency_seconds";
    let _ = writeln!(text, "# HELP {name} How long operations take.\n# TYPE {name} summary");
    for (operation, latency) in latencies.by_name() {
        let labels = format!("cache=\"{label}\",operation=\"{operation}\"");
        for (_, quantile, nanos) in latency.quantiles() {
            let value = seconds(nanos);
            let _ = writeln!(text, "{name}{{{labels},quantile=\"{quantile}\"}} {value}");
        }
        let _ = writeln!(text, "{name}_sum{{{labels}}} {}", seconds(latency.sum_ns));
        let _ = writeln!(text, "{name}_count{{{labels}}} {}", latency.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::MissRatio;

    #[test]
    fn texts() {
        let mut stats = Stats { hits: 3, pool_bytes: 4096, ..Stats::default() };
        stats.left[Cause::Capacity as usize] = 7;
        let json = stats.to_json();
        assert!(json.starts_with("{\"hits\":3,\"misses\":0,"));
        assert!(json.ends_with("\"left\":{\"capacity\":7,\"explicit\":0,\"replaced\":0,\"expired\":0,\"cleared\":0,\"quota\":0,\"resized\":0,\"damaged\":0}}"));
        let text = stats.to_prometheus("a\"b");
        assert!(text.contains(
            "# TYPE vmemcache_pool_bytes gauge\nvmemcache_pool_bytes{cache=\"a\\\"b\"} 4096\n"
        ));
        assert!(text.contains("vmemcache_left_total{cache=\"a\\\"b\",cause=\"capacity\"} 7\n"));
        assert!(!json.contains("latenc") && !text.contains("latenc"), "not measured, not shown");
        let mut latencies = Latencies::default();
        latencies.put.count = 2;
        latencies.put.sum_ns = 3_000_000_050;
        latencies.put.p99_ns = 40;
        stats.latencies = Some(Box::new(latencies));
        let point = |bytes, misses_per_million| MissRatio { bytes, misses_per_million };
        stats.miss_ratio_curve = vec![point(64, 1_000_000), point(128, 50_000)];
        stats.tail_age = Some(std::time::Duration::from_micros(1_500_000));
        let json = stats.to_json();
        assert!(json.contains(
            "\"put\":{\"count\":2,\"p50\":0,\"p90\":0,\"p99\":40,\"p999\":0,\"max\":0,\"sum\":3000000050}"
        ));
        assert!(json.ends_with("}}}") && json.matches('{').count() == json.matches('}').count());
        assert!(json.contains(",\"tail_age_ms\":1500,"));
        assert!(json.contains(",\"miss_ratio_curve\":[[64,1.000000],[128,0.050000]],\""));
        let text = stats.to_prometheus("c");
        assert!(text.contains("\nvmemcache_tail_age_seconds{cache=\"c\"} 1.500000\n"));
        let name = "vmemcache_latency_seconds";
        let labels = "cache=\"c\",operation=\"put\"";
        for line in [
            format!("# TYPE {name} summary\n"),
            format!("{name}{{{labels},quantile=\"0.99\"}} 0.000000040\n"),
            format!("{name}_sum{{{labels}}} 3.000000050\n"),
            format!("{name}_count{{{labels}}} 2\n"),
        ] {
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
}
