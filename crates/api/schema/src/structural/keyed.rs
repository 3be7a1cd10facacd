//! The elements of a list that is a map, by their keys: an update compares each new element with the old one of the same
//! keys, and a list can have very many.

use std::collections::HashMap;

use meta::Str;
use serde_json::Value;

/// An index over one list.
pub struct Keyed<'a> {
    keys: &'a [Str],
    elements: HashMap<String, &'a Value>,
}

impl<'a> Keyed<'a> {
    /// Indexes `list`; of several elements with the same keys the first counts. A value that is no list has none.
    pub fn new(keys: &'a [Str], list: &'a Value) -> Self {
        let mut elements = HashMap::new();
        for element in list.as_array().into_iter().flatten() {
            elements.entry(text(keys, element)).or_insert(element);
        }
        Keyed { keys, elements }
    }

    /// The element with the keys of `element`.
    pub fn same(&self, element: &Value) -> Option<&'a Value> {
        self.elements.get(&text(self.keys, element)).copied()
    }
}

/// The key values as JSON, a line each; an absent one is an empty line, which no value is.
fn text(keys: &[Str], element: &Value) -> String {
    let mut text = String::new();
    for key in keys {
        if let Some(value) = element.get(key.as_str()) {
            text.push_str(&super::shown(value));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn elements_are_found_by_all_their_keys() {
        let keys = ["a".into(), "b".into()];
        let list = json!([{"a": 1, "b": "x", "v": 1}, {"a": 1, "v": 2}, {"a": "1", "b": "x", "v": 3}, {"a": 1, "v": 4}]);
        let keyed = Keyed::new(&keys, &list);
        let found = |element: Value| keyed.same(&element).map(|e| e["v"].clone());
        assert_eq!(found(json!({"a": 1, "b": "x"})), Some(json!(1)));
        assert_eq!(found(json!({"a": 1})), Some(json!(2)));
        assert_eq!(found(json!({"a": "1", "b": "x"})), Some(json!(3)));
        assert_eq!(found(json!({"a": 2})), None);
        assert!(Keyed::new(&keys, &json!("no list")).same(&json!({})).is_none());
    }
}
