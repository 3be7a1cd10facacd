//! All metrics of the process by name, and the page that Prometheus reads.

use crate::build;
use crate::cells::{Counter, Gauge, Histogram};
use crate::exposition::Exposition;
use crate::family::{Cells, CounterFamily, GaugeFamily, HistogramFamily};
use crate::process;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

/// Metrics by name. Most code uses the process-wide [`registry`] through [`counter`], [`gauge`] and [`histogram`].
#[derive(Default)]
pub struct Registry {
    families: RwLock<BTreeMap<&'static str, (&'static str, Family)>>,
    collectors: RwLock<Vec<Collector>>,
    disabled: RwLock<BTreeSet<String>>,
    allowed: RwLock<AllowedLabels>,
}

/// The values that labels may have, by metric and label.
pub type AllowedLabels = BTreeMap<(String, String), BTreeSet<String>>;

type Collector = Arc<dyn Fn(&mut Exposition) + Send + Sync>;

#[derive(Clone)]
enum Family {
    Counter(CounterFamily),
    Gauge(GaugeFamily),
    Histogram(HistogramFamily),
}

macro_rules! register {
    ($self:ident, $name:ident, $help:ident, $kind:ident, $make:expr) => {{
        let mut families = $self.families.write();
        let fresh = || {
            let family = $make;
            family.0.allow($self.bounds($name));
            ($help, Family::$kind(family))
        };
        match &families.entry($name).or_insert_with(fresh).1 {
            Family::$kind(family) => family.clone(),
            _ => {
                tracing::error!(metric = $name, "one metric name with two types; the later one is not shown");
                $make
            }
        }
    }};
}

impl Registry {
    /// A registry of its own: for tests, and for endpoints that show a part only.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// The counter of this name, registered on first use.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[&'static str]) -> CounterFamily {
        register!(self, name, help, Counter, CounterFamily(Cells::new(labels, |_| Counter::default())))
    }

    /// The gauge of this name, registered on first use.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[&'static str]) -> GaugeFamily {
        register!(self, name, help, Gauge, GaugeFamily(Cells::new(labels, |_| Gauge::default())))
    }

    /// The histogram of this name, registered on first use. `limits` are the buckets' upper limits, ascending.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[&'static str],
        limits: &[f64],
    ) -> HistogramFamily {
        let limits: Arc<[f64]> = limits.into();
        register!(
            self,
            name,
            help,
            Histogram,
            HistogramFamily(Cells::new(labels, {
                let limits = limits.clone();
                move |_| Histogram::new(limits.clone())
            }))
        )
    }

    /// Adds metrics that are measured when somebody looks.
    pub fn collector(&self, collect: impl Fn(&mut Exposition) + Send + Sync + 'static) {
        self.collectors.write().push(Arc::new(collect));
    }

    /// Leaves metrics of these names out from now on.
    pub fn disable(&self, names: &[String]) {
        self.disabled.write().extend(names.iter().cloned());
        self.counter("disabled_metrics_total", "Metrics that the user disabled.", &[])
            .with(&[])
            .add(names.len() as u64);
    }

    /// Bounds the values of labels from now on: any other is shown as `unexpected`.
    pub fn allow_labels(&self, allowed: AllowedLabels) {
        *self.allowed.write() = allowed;
        for (name, (_, family)) in self.families.read().iter() {
            match family {
                Family::Counter(family) => family.0.allow(self.bounds(name)),
                Family::Gauge(family) => family.0.allow(self.bounds(name)),
                Family::Histogram(family) => family.0.allow(self.bounds(name)),
            }
        }
    }

    /// The bounds of a metric's labels.
    fn bounds(&self, name: &str) -> impl Fn(&str) -> Option<BTreeSet<String>> {
        let own: BTreeMap<String, BTreeSet<String>> = {
            let allowed = self.allowed.read();
            let own = allowed.iter().filter(|((metric, _), _)| metric == name);
            own.map(|((_, label), values)| (label.clone(), values.clone())).collect()
        };
        move |label| own.get(label).cloned()
    }

    /// A page for more metrics, which leaves out what is disabled.
    pub fn page(&self) -> Exposition {
        Exposition::without(self.disabled.read().clone())
    }

    /// Every metric in Prometheus' text format, ordered by name.
    pub fn render(&self) -> String {
        // Copied out first, so that nothing is registered or recorded under a lock while the page is written.
        let families: Vec<_> =
            self.families.read().iter().map(|(name, entry)| (*name, entry.clone())).collect();
        let collectors = self.collectors.read().clone();
        let mut page = self.page();
        for (name, (help, family)) in families {
            match family {
                Family::Counter(family) => {
                    page.header(name, help, "counter");
                    for (labels, cell) in family.0.all() {
                        page.sample(name, &labels, cell.get() as f64);
                    }
                }
                Family::Gauge(family) => {
                    page.header(name, help, "gauge");
                    for (labels, cell) in family.0.all() {
                        page.sample(name, &labels, cell.get());
                    }
                }
                Family::Histogram(family) => {
                    page.header(name, help, "histogram");
                    for (labels, cell) in family.0.all() {
                        page.histogram(name, &labels, &cell);
                    }
                }
            }
        }
        for collect in collectors {
            collect(&mut page);
        }
        page.into_text()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.families.read().keys()).finish()
    }
}

static PROCESS_WIDE: LazyLock<Registry> = LazyLock::new(|| {
    let registry = Registry::new();
    registry.collector(build::collect);
    registry.collector(process::collect);
    registry
});

/// The registry of this process, which `/metrics` shows.
pub fn registry() -> &'static Registry {
    &PROCESS_WIDE
}

/// [`Registry::counter`] of the process-wide registry.
pub fn counter(name: &'static str, help: &'static str, labels: &[&'static str]) -> CounterFamily {
    registry().counter(name, help, labels)
}

/// [`Registry::gauge`] of the process-wide registry.
pub fn gauge(name: &'static str, help: &'static str, labels: &[&'static str]) -> GaugeFamily {
    registry().gauge(name, help, labels)
}

/// [`Registry::histogram`] of the process-wide registry.
pub fn histogram(
    name: &'static str,
    help: &'static str,
    labels: &[&'static str],
    limits: &[f64],
) -> HistogramFamily {
    registry().histogram(name, help, labels, limits)
}

/// [`Registry::collector`] of the process-wide registry.
pub fn collector(collect: impl Fn(&mut Exposition) + Send + Sync + 'static) {
    registry().collector(collect);
}

/// [`Registry::render`] of the process-wide registry.
pub fn render() -> String {
    registry().render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disabled_metrics_are_not_shown() {
        let registry = Registry::new();
        registry.counter("a_total", "A.", &[]).with(&[]).inc();
        registry.histogram("b_seconds", "B.", &[], &[1.0]).with(&[]).observe(0.5);
        registry.collector(|page| {
            for name in ["c", "d"] {
                page.header(name, "Measured now.", "gauge");
                page.sample(name, &[], 1.0);
            }
        });
        registry.disable(&["b_seconds", "c", "unknown"].map(str::to_owned));
        let expected = "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n\
                        # HELP disabled_metrics_total Metrics that the user disabled.\n\
                        # TYPE disabled_metrics_total counter\ndisabled_metrics_total 3\n\
                        # HELP d Measured now.\n# TYPE d gauge\nd 1\n";
        assert_eq!(registry.render(), expected);
    }

    #[test]
    fn labels_can_be_bounded() {
        let registry = Registry::new();
        let before = registry.counter("a_total", "A.", &["verb", "code"]);
        let bound = |metric: &str| ((metric.to_owned(), "verb".to_owned()), ["GET".to_owned()].into());
        registry.allow_labels([bound("a_total"), bound("b")].into());
        let after = registry.gauge("b", "B.", &["verb"]);
        for verb in ["GET", "LIST", "PUT"] {
            before.with(&[verb, "200"]).inc();
            after.with(&[verb]).add(1.0);
        }
        let expected = "# HELP a_total A.\n# TYPE a_total counter\na_total{verb=\"GET\",code=\"200\"} 1\n\
                        a_total{verb=\"unexpected\",code=\"200\"} 2\n# HELP b B.\n# TYPE b gauge\n\
                        b{verb=\"GET\"} 1\nb{verb=\"unexpected\"} 2\n";
        assert_eq!(registry.render(), expected);
    }

    #[test]
    fn renders_the_text_format() {
        let registry = Registry::new();
        let requests = registry.counter("b_total", "Requests\nby \"verb\".", &["verb"]);
        requests.with(&["LIST"]).add(2);
        requests.with(&["a\"b\\c\n"]).inc();
        registry.gauge("a", "Depth.", &[]).with(&[]).set(1.5);
        let times = registry.histogram("c_seconds", "Times.", &["verb"], &[0.1, 1.0]);
        times.with(&["GET"]).observe(0.5);
        registry.collector(|page| {
            page.header("d", "Measured now.", "gauge");
            page.sample("d", &[], f64::INFINITY);
        });
        let expected = r#"# HELP a Depth.
# TYPE a gauge
a 1.5
# HELP b_total Requests\nby "verb".
# TYPE b_total counter
b_total{verb="LIST"} 2
b_total{verb="a\"b\\c\n"} 1
# HELP c_seconds Times.
# TYPE c_seconds histogram
c_seconds_bucket{verb="GET",le="0.1"} 0
c_seconds_bucket{verb="GET",le="1"} 1
c_seconds_bucket{verb="GET",le="+Inf"} 1
c_seconds_sum{verb="GET"} 0.5
c_seconds_count{verb="GET"} 1
# HELP d Measured now.
# TYPE d gauge
d +Inf
"#;
        assert_eq!(registry.render(), expected);
    }

    #[test]
    fn one_name_is_one_family_and_labels_can_go() {
        let registry = Registry::new();
        registry.counter("x_total", "X.", &["a"]).with(&["1"]).inc();
        let again = registry.counter("x_total", "X.", &["a"]);
        assert_eq!(again.with(&["1"]).get(), 1);
        again.remove(&["1"]);
        assert_eq!(again.with(&["1"]).get(), 0);
        // A clash of types is reported in the log and does not disturb the first.
        registry.gauge("x_total", "X.", &["a"]).with(&["1"]).set(9.0);
        assert!(registry.render().contains("x_total{a=\"1\"} 0\n"));
    }

    #[test]
    fn a_bundle_is_made_once_of_its_labels() {
        let registry = Registry::new();
        let (count, time) = (
            registry.counter("n_total", "N.", &["a", "b"]),
            registry.histogram("n_seconds", "N.", &["b"], &[1.0]),
        );
        let bundles =
            crate::Bundles::new(&["a", "b"], move |values| (count.with(values), time.with(&values[1..])));
        for _ in 0..2 {
            let both = bundles.with(&["1", "2"]);
            both.0.inc();
            both.1.observe(0.5);
        }
        let page = registry.render();
        assert!(page.contains("n_total{a=\"1\",b=\"2\"} 2\n"), "{page}");
        assert!(page.contains("n_seconds_count{b=\"2\"} 2\n"), "{page}");
    }

    #[test]
    fn many_labels_from_many_threads_are_all_counted() {
        let registry = Registry::new();
        let family = registry.counter("y_total", "Y.", &["n"]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|n| family.with(&[&n.to_string()]).inc()));
            }
        });
        let all = family.0.all();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|(_, cell)| cell.get() == 4));
    }

    #[test]
    fn the_process_measures_itself() {
        let page = render();
        for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"] {
            assert!(page.lines().any(|line| line.starts_with(name)), "{name} in {page}");
        }
    }
}
