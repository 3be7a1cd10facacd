//! What health checks came to (KEP-3466): a page of its own beside the metrics.

use crate::{CounterFamily, GaugeFamily, Registry};

/// The results of a server's health checks, as they were made for those who asked.
pub struct Slis {
    registry: Registry,
    last: GaugeFamily,
    all: CounterFamily,
}

impl Default for Slis {
    fn default() -> Self {
        let registry = Registry::new();
        let last = registry.gauge(
            "kubernetes_healthcheck",
            "How a health check went last: 1 is well, 0 not.",
            &["name", "type"],
        );
        let all = registry.counter(
            "kubernetes_healthchecks_total",
            "How health checks went.",
            &["name", "status", "type"],
        );
        Slis { registry, last, all }
    }
}

impl Slis {
    /// The check `name` was made for someone who asked for `list`: `healthz`, `livez` or `readyz`.
    pub fn observe(&self, list: &str, name: &str, good: bool) {
        self.last.with(&[name, list]).set(f64::from(u8::from(good)));
        let status = if good { "success" } else { "error" };
        self.all.with(&[name, status, list]).inc();
    }

    /// The page.
    pub fn render(&self) -> String {
        self.registry.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_result_and_all_results_are_told() {
        let slis = Slis::default();
        slis.observe("readyz", "etcd", false);
        slis.observe("readyz", "etcd", true);
        let page = slis.render();
        for line in [
            "kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 1",
            "kubernetes_healthchecks_total{name=\"etcd\",status=\"error\",type=\"readyz\"} 1",
            "kubernetes_healthchecks_total{name=\"etcd\",status=\"success\",type=\"readyz\"} 1",
        ] {
            assert!(page.contains(line), "{page}");
        }
    }
}
