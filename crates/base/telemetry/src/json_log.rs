//! Log lines as JSON, with the members of Kubernetes' own (KEP-1602).

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// One event, one object. Errors have no `v`.
pub(crate) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        writeln!(to, "{}", line(event.metadata(), SystemTime::now(), fields))
    }
}

fn line(about: &Metadata<'_>, now: SystemTime, fields: Fields) -> Value {
    let micros = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let mut line = Map::new();
    line.insert("ts".into(), json!(micros as f64 / 1_000.0));
    if let (Some(file), Some(number)) = (about.file(), about.line()) {
        let folder_and_file = file.rmatch_indices('/').nth(1).map_or(file, |(at, _)| &file[at + 1..]);
        line.insert("caller".into(), json!(format!("{folder_and_file}:{number}")));
    }
    line.insert("msg".into(), json!(fields.message));
    match *about.level() {
        Level::ERROR => {}
        Level::WARN | Level::INFO => drop(line.insert("v".into(), json!(0))),
        Level::DEBUG => drop(line.insert("v".into(), json!(4))),
        Level::TRACE => drop(line.insert("v".into(), json!(6))),
    }
    line.extend(fields.others);
    Value::Object(line)
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            // Kubernetes' name for what went wrong.
            ("error", value) => drop(self.others.insert("err".into(), value)),
            (name, value) => drop(self.others.insert(name.into(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Page {
        type Writer = Page;

        fn make_writer(&'a self) -> Page {
            self.clone()
        }
    }

    #[test]
    fn events_are_objects() {
        let page = Page::default();
        let layer = tracing_subscriber::fmt::layer().event_format(Json).with_writer(page.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(pod = "a/b", nodes = 3, "bound \"it\"\nall");
            tracing::error!(error = %"gone", "lost");
        });
        let text = String::from_utf8(page.0.lock().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [bound, lost] = &lines[..] else { panic!("{text}") };
        assert_eq!(
            (&bound["msg"], &bound["v"], &bound["pod"], &bound["nodes"]),
            (&json!("bound \"it\"\nall"), &json!(0), &json!("a/b"), &json!(3))
        );
        assert!(bound["caller"].as_str().unwrap().starts_with("src/json_log.rs:"), "{bound}");
        assert!(bound["ts"].as_f64().unwrap() > 1e12);
        assert_eq!((&lost["err"], &lost["v"]), (&json!("gone"), &Value::Null));
    }
}
