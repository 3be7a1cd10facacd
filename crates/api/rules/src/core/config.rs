//! ConfigMaps, Secrets, ServiceAccounts and Namespaces.

use crate::check::{Errs, config_key, metadata, name_label, qualified_name};
use crate::fill::text;
use crate::{Context, Path, Rules};
use meta::{ByteString, List, Str};
use types::core::v1::*;

/// The most bytes that the values of a ConfigMap or Secret may hold together.
const DATA_BYTES_MAX: usize = 1 << 20;
const FROZEN: &str = "field is immutable when `immutable` is set";
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

impl Rules for ConfigMap {
    const REVALIDATES_METADATA: u8 = 1;

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let (data, binary) = (Path::root("data"), Path::root("binaryData"));
        for (key, _) in self.data.iter() {
            e.each(&data.key(key), key, config_key(key));
            if self.binary_data.contains_key(key) {
                e.invalid(&data.key(key), key, "duplicate of key present in binaryData");
            }
        }
        for (key, _) in self.binary_data.iter() {
            e.each(&binary.key(key), key, config_key(key));
        }
        let bytes = self.data.values().map(|v| v.len()).sum::<usize>()
            + self.binary_data.values().map(|v| v.0.len()).sum::<usize>();
        if bytes > DATA_BYTES_MAX {
            e.too_long(&Path::WHOLE, DATA_BYTES_MAX);
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        if old.immutable == Some(true) {
            for (field, changed) in [
                ("immutable", self.immutable != Some(true)),
                ("data", self.data != old.data),
                ("binaryData", self.binary_data != old.binary_data),
            ] {
                if changed {
                    e.forbidden(&Path::root(field), FROZEN);
                }
            }
        }
        self.check(e, cx);
    }
}

impl Rules for Secret {
    const REVALIDATES_METADATA: u8 = 1;
    const FIELD_LABELS: &'static [&'static str] = &["type"];

    fn default(&mut self) {
        text(&mut self.type_, "Opaque");
        // Text is a convenience of the request; what is kept is bytes.
        for (key, value) in std::mem::take(&mut self.string_data) {
            self.data.insert(key, ByteString(value.as_bytes().to_vec()));
        }
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        // A client that leaves out the type means the one it has.
        if self.type_.is_empty() {
            self.type_ = old.type_.clone();
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("data");
        for (key, _) in self.data.iter() {
            e.each(&at.key(key), key, config_key(key));
        }
        if self.data.values().map(|v| v.0.len()).sum::<usize>() > DATA_BYTES_MAX {
            e.too_long(&at, DATA_BYTES_MAX);
        }
        let mut has = |key: &str| match self.data.contains_key(key) {
            true => true,
            false => {
                e.required(&at.key(key), "");
                false
            }
        };
        match self.type_.as_str() {
            "kubernetes.io/service-account-token" => {
                const ACCOUNT: &str = "kubernetes.io/service-account.name";
                if self.metadata.annotations.get(ACCOUNT).is_none_or(|v| v.is_empty()) {
                    let metadata = Path::root("metadata");
                    e.required(&metadata.child("annotations").key(ACCOUNT), "");
                }
            }
            "kubernetes.io/dockercfg" if has(".dockercfg") => self.json(e, ".dockercfg"),
            "kubernetes.io/dockerconfigjson" if has(".dockerconfigjson") => self.json(e, ".dockerconfigjson"),
            "kubernetes.io/basic-auth"
                if !self.data.contains_key("username") && !self.data.contains_key("password") =>
            {
                has("username");
                has("password");
            }
            "kubernetes.io/ssh-auth" if self.data.get("ssh-privatekey").is_none_or(|v| v.0.is_empty()) => {
                e.required(&at.key("ssh-privatekey"), "");
            }
            "kubernetes.io/tls" => {
                has("tls.crt");
                has("tls.key");
            }
            _ => {}
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        e.immutable(&Path::root("type"), &self.type_, &old.type_, || (&self.type_).into());
        if old.immutable == Some(true) {
            for (field, changed) in
                [("immutable", self.immutable != Some(true)), ("data", self.data != old.data)]
            {
                if changed {
                    e.forbidden(&Path::root(field), FROZEN);
                }
            }
        }
        self.check(e, cx);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        if self.type_ != "kubernetes.io/tls" {
            return Vec::new();
        }
        let pem = |key: &str| self.data.get(key).is_some_and(|v| contains(&v.0, b"-----BEGIN"));
        let problem = match (pem("tls.crt"), pem("tls.key")) {
            (false, _) => "failed to find any PEM data in certificate input",
            (true, false) => "failed to find any PEM data in key input",
            (true, true) => return Vec::new(),
        };
        vec![format!("tls: {problem}")]
    }

    fn field(&self, label: &str) -> Option<Str> {
        (label == "type").then(|| self.type_.clone())
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

/// A secret whose value must be a JSON object.
trait JsonValue {
    fn json(&self, e: &mut Errs, key: &str);
}

impl JsonValue for Secret {
    fn json(&self, e: &mut Errs, key: &str) {
        let Some(value) = self.data.get(key) else { return };
        if let Some(problem) = crate::check::go_json_object_error(&value.0) {
            e.invalid(&Path::root("data").key(key), "<secret contents redacted>", problem);
        }
    }
}

impl Rules for ServiceAccount {
    const REVALIDATES_METADATA: u8 = 1;

    fn prepare_create(&mut self, _cx: &Context) {
        name_secrets_only(self);
    }

    fn prepare_update(&mut self, _old: &Self, _cx: &Context) {
        name_secrets_only(self);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
        match self.metadata.annotations.contains_key(ENFORCE) {
            true => vec![format!(
                "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            )],
            false => Vec::new(),
        }
    }
}

/// Secrets of an account are in its namespace: nothing but their names means anything.
fn name_secrets_only(account: &mut ServiceAccount) {
    for secret in &mut account.secrets {
        *secret = ObjectReference { name: std::mem::take(&mut secret.name), ..Default::default() };
    }
}

impl Rules for Namespace {
    const REVALIDATES_METADATA: u8 = 1;
    const NAME: crate::check::NameCheck = name_label;
    const FIELD_LABELS: &'static [&'static str] = &["status.phase", "name"];

    fn default(&mut self) {
        if !self.metadata.name.is_empty() {
            self.metadata.labels.insert(NAMESPACE_LABEL, self.metadata.name.clone());
        }
        text(&mut self.status.phase, "Active");
    }

    fn prepare_create(&mut self, _cx: &Context) {
        self.status = NamespaceStatus { phase: "Active".into(), ..Default::default() };
        if !self.spec.finalizers.iter().any(|f| f == "kubernetes") {
            self.spec.finalizers.push("kubernetes".into());
        }
        // Defaults run before a generated name is known.
        self.metadata.labels.insert(NAMESPACE_LABEL, self.metadata.name.clone());
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        self.spec.finalizers.clone_from(&old.spec.finalizers);
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.spec.clone_from(&old.spec);
    }

    fn prepare_subresource(&mut self, old: &Self, _name: &str, _cx: &Context) {
        self.status.clone_from(&old.status);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let spec = Path::root("spec");
        finalizers(e, &self.spec.finalizers, |_| spec.child("finalizers").to_string());
    }

    fn check_update(&self, _old: &Self, _e: &mut Errs, _cx: &Context) {}

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        let status = Path::root("status");
        let at = status.child("Phase");
        match (self.metadata.deletion_timestamp.is_some(), self.status.phase.as_str()) {
            (false, "Active") | (true, "Terminating") => {}
            (false, other) => e.invalid(&at, other, "may only be 'Active' if `deletionTimestamp` is empty"),
            (true, other) => {
                e.invalid(&at, other, "may only be 'Terminating' if `deletionTimestamp` is not empty")
            }
        }
    }

    fn check_subresource(&self, _old: &Self, _name: &str, e: &mut Errs, _cx: &Context) {
        finalizers(e, &self.spec.finalizers, |i| format!("spec.finalizers[{i}]"));
    }

    fn field(&self, label: &str) -> Option<Str> {
        match label {
            "status.phase" => Some(self.status.phase.clone()),
            "name" => Some(self.metadata.name.clone()),
            _ => None,
        }
    }
}

fn finalizers(e: &mut Errs, names: &List<Str>, at: impl Fn(usize) -> String) {
    for (i, name) in names.iter().enumerate() {
        let text = at(i);
        let at = Path::root(&text);
        e.each(&at, name, qualified_name(name));
        metadata::known_finalizer(e, &at, name);
    }
}
