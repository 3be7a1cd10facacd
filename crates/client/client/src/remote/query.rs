//! Call options as HTTP methods and query strings.

use call::{Action, DryRun, FieldValidation, ListOptions, VersionMatch, WriteOptions};
use http::Method;

/// The HTTP method of each verb.
pub(crate) fn method(action: &Action) -> Method {
    match action {
        Action::Get { .. } | Action::List(_) | Action::Watch(_) => Method::GET,
        Action::Create(..) => Method::POST,
        Action::Update(..) => Method::PUT,
        Action::Patch(..) => Method::PATCH,
        Action::Delete(_) | Action::DeleteCollection(..) => Method::DELETE,
    }
}

/// The query string of each verb, without the question mark. Delete options travel in the body.
pub(crate) fn of(action: &Action) -> String {
    let mut query = Query::default();
    match action {
        Action::Get { resource_version } => query.add("resourceVersion", resource_version),
        Action::List(options) | Action::DeleteCollection(options, _) => query.list(options),
        Action::Watch(options) => {
            query.add("watch", "true");
            query.list(options);
        }
        Action::Create(_, options) | Action::Update(_, options) | Action::Patch(_, _, options) => {
            query.write(options)
        }
        Action::Delete(_) => {}
    }
    query.text
}

#[derive(Default)]
struct Query {
    text: String,
}

impl Query {
    fn add(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push('&');
        }
        self.text.push_str(key);
        self.text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                self.text.push(byte as char);
            } else {
                self.text.push_str(&format!("%{byte:02X}"));
            }
        }
    }

    fn list(&mut self, options: &ListOptions) {
        self.add("labelSelector", &options.label_selector);
        self.add("fieldSelector", &options.field_selector);
        self.add("resourceVersion", &options.resource_version);
        match options.resource_version_match {
            Some(VersionMatch::Exact) => self.add("resourceVersionMatch", "Exact"),
            Some(VersionMatch::NotOlderThan) => self.add("resourceVersionMatch", "NotOlderThan"),
            None => {}
        }
        if options.limit > 0 {
            self.add("limit", &options.limit.to_string());
        }
        self.add("continue", &options.continue_token);
        if let Some(seconds) = options.timeout_seconds {
            self.add("timeoutSeconds", &seconds.to_string());
        }
        if options.allow_watch_bookmarks {
            self.add("allowWatchBookmarks", "true");
        }
        if let Some(initial) = options.send_initial_events {
            self.add("sendInitialEvents", if initial { "true" } else { "false" });
        }
    }

    fn write(&mut self, options: &WriteOptions) {
        if options.dry_run == DryRun::All {
            self.add("dryRun", "All");
        }
        self.add("fieldManager", &options.field_manager);
        match options.field_validation {
            Some(FieldValidation::Ignore) => self.add("fieldValidation", "Ignore"),
            Some(FieldValidation::Strict) => self.add("fieldValidation", "Strict"),
            Some(FieldValidation::Warn) => self.add("fieldValidation", "Warn"),
            None => {}
        }
        if options.force {
            self.add("force", "true");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_queries() {
        let options = ListOptions {
            label_selector: "app in (a,b)".into(),
            limit: 5,
            allow_watch_bookmarks: true,
            ..ListOptions::default()
        };
        assert_eq!(
            of(&Action::Watch(options)),
            "watch=true&labelSelector=app%20in%20%28a%2Cb%29&limit=5&allowWatchBookmarks=true"
        );
        assert_eq!(of(&Action::Get { resource_version: "0".into() }), "resourceVersion=0");
    }
}
