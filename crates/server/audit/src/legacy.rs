//! An event as one line of text (`--audit-log-format=legacy`).

use serde_json::{Map, Value};

/// The line, without its end.
pub(crate) fn line(event: &Map<String, Value>) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let field = |key: &str| text(event.get(key));
    let or = |value: String, otherwise: &str| if value.is_empty() { otherwise.to_owned() } else { value };
    let (user, other) = (&event["user"], event.get("impersonatedUser"));
    let name = text(user.get("username"));
    let groups = match list(&user["groups"]) {
        Some(groups) if !name.is_empty() => groups,
        _ => "<none>".to_owned(),
    };
    let (as_user, as_groups) = match other {
        Some(other) => (text(other.get("username")), list(&other["groups"])),
        None => ("<self>".to_owned(), None),
    };
    let code = event.get("responseStatus").and_then(|status| status["code"].as_i64());
    format!(
        "{} AUDIT: id={:?} stage={:?} ip={:?} method={:?} user={:?} groups={groups} as={as_user:?} asgroups={} \
         user-agent={:?} namespace={:?} uri={:?} response=\"{}\"",
        field("requestReceivedTimestamp"),
        field("auditID"),
        field("stage"),
        or(text(event.get("sourceIPs").and_then(|ips| ips.get(0))), "<unknown>"),
        field("verb"),
        or(name, "<none>"),
        as_groups.unwrap_or_else(|| "<lookup>".to_owned()),
        field("userAgent"),
        or(text(event.get("objectRef").and_then(|object| object.get("namespace"))), "<none>"),
        field("requestURI"),
        code.map_or_else(|| "<deferred>".to_owned(), |code| code.to_string()),
    )
}

/// Quoted texts with commas between them; `None` for no list or an empty one.
fn list(value: &Value) -> Option<String> {
    let items = value.as_array().filter(|items| !items.is_empty())?;
    let quoted: Vec<String> =
        items.iter().filter_map(Value::as_str).map(|item| format!("{item:?}")).collect();
    Some(quoted.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_read_as_upstreams() {
        let event = json!({
            "auditID": "i", "stage": "ResponseComplete", "sourceIPs": ["192.0.2.1", "192.0.2.2"], "verb": "get",
            "user": {"username": "ann", "groups": ["a", "b\"c"]}, "userAgent": "k", "requestURI": "/x?y",
            "objectRef": {"namespace": "web"}, "responseStatus": {"code": 200},
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z",
        });
        let mut event = event.as_object().cloned().unwrap_or_default();
        assert_eq!(
            line(&event),
            r#"2026-01-01T00:00:00.000000Z AUDIT: id="i" stage="ResponseComplete" ip="192.0.2.1" method="get" user="ann" groups="a","b\"c" as="<self>" asgroups=<lookup> user-agent="k" namespace="web" uri="/x?y" response="200""#
        );
        event.remove("responseStatus");
        event.remove("objectRef");
        event.insert("user".into(), json!({}));
        event.insert("impersonatedUser".into(), json!({"username": "bob", "groups": ["g"]}));
        let line = line(&event);
        assert!(line.contains(r#"user="<none>" groups=<none> as="bob" asgroups="g""#), "{line}");
        assert!(line.ends_with(r#"namespace="<none>" uri="/x?y" response="<deferred>""#), "{line}");
    }
}
