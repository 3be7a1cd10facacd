//! Match conditions: CEL over the review, which say whether a webhook is asked at all.

use std::sync::{Arc, LazyLock};

use authn::User;
use cel::schema::DeclKind;
use cel::{Activation, Budget, DeclType, Env, PER_CALL_LIMIT, Program, Type, Value};
use meta::aggregate_message;

use crate::attributes::Attributes;
use crate::review;

/// Most conditions of one webhook.
pub(crate) const CONDITIONS_MAX: usize = 64;
const VARIABLE: &str = "request";

/// Compiled conditions.
#[derive(Debug, Default)]
pub(crate) struct Conditions(Vec<Program>);

/// What conditions say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All hold.
    Applies,
    /// One does not.
    Skipped,
    /// Some failed and none said no.
    Failed(String),
}

/// Compiles one; the error is the detail that upstream's validation shows.
pub(crate) fn compile(expression: &str) -> Result<Program, String> {
    let program =
        environment().compile(expression).map_err(|error| format!("{} failed: {error}", error.stage()))?;
    match program.result_type() {
        Type::Bool => Ok(program),
        other => Err(format!("must evaluate to bool but got {other}")),
    }
}

impl Conditions {
    pub(crate) fn new(programs: Vec<Program>) -> Self {
        Conditions(programs)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks all: one that says no wins over those that fail.
    pub(crate) fn check(&self, user: &User, request: &Attributes) -> Verdict {
        if self.0.is_empty() {
            return Verdict::Applies;
        }
        let json = review::variable(user, request);
        let declared = environment().declared_type(VARIABLE).map(|declared| &**declared);
        let activation = Activation::new().json(VARIABLE, &json, declared);
        let mut failures = Vec::new();
        for program in &self.0 {
            match program.evaluate(&activation, &mut Budget::new(PER_CALL_LIMIT)) {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => return Verdict::Skipped,
                Ok(_) => failures.push(format!(
                    "cel evaluation error: expression '{}' eval result type should be bool",
                    program.source()
                )),
                Err(error) => failures.push(format!(
                    "cel evaluation error: expression '{}' resulted in error: {error}",
                    program.source()
                )),
            }
        }
        if failures.is_empty() { Verdict::Applies } else { Verdict::Failed(aggregate_message(failures)) }
    }
}

fn environment() -> &'static Env {
    static ENV: LazyLock<Env> =
        LazyLock::new(|| Env::new().declared(VARIABLE, "kubernetes.SubjectAccessReviewSpec", request_type()));
    &ENV
}

fn request_type() -> Arc<DeclType> {
    let text = || DeclType::simple(DeclKind::String);
    let texts = || DeclType::list(text());
    let requirement = || DeclType::object(&[("key", text()), ("operator", text()), ("values", texts())]);
    let selector =
        || DeclType::object(&[("rawSelector", text()), ("requirements", DeclType::list(requirement()))]);
    let resource = DeclType::object(&[
        ("namespace", text()),
        ("verb", text()),
        ("group", text()),
        ("version", text()),
        ("resource", text()),
        ("subresource", text()),
        ("name", text()),
        ("fieldSelector", selector()),
        ("labelSelector", selector()),
    ]);
    DeclType::object(&[
        ("resourceAttributes", resource),
        ("nonResourceAttributes", DeclType::object(&[("path", text()), ("verb", text())])),
        ("user", text()),
        ("groups", texts()),
        ("extra", DeclType::map(texts())),
        ("uid", text()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expressions: &[&str], request: &Attributes) -> Verdict {
        let programs = expressions.iter().map(|e| compile(e).unwrap()).collect();
        Conditions::new(programs).check(&User::new("alice", &["dev"]), request)
    }

    #[test]
    fn a_no_wins_over_failures() {
        let pods = Attributes::resource("list", "", "pods", "web", "");
        let path = Attributes::path("get", "/x");
        let (system, missing) = (
            "request.resourceAttributes.namespace == 'kube-system'",
            "request.resourceAttributes.verb == 'list'",
        );
        assert_eq!(check(&["has(request.resourceAttributes)", missing], &pods), Verdict::Applies);
        assert_eq!(check(&[system], &pods), Verdict::Skipped);
        assert_eq!(check(&["'dev' in request.groups", "request.user != 'bob'"], &path), Verdict::Applies);
        assert_eq!(check(&[missing, "request.user == 'bob'"], &path), Verdict::Skipped);
        assert_eq!(
            check(&[missing], &path),
            Verdict::Failed(
                "cel evaluation error: expression 'request.resourceAttributes.verb == 'list'' resulted in error: no such key: resourceAttributes".into()
            )
        );
    }

    #[test]
    fn what_does_not_compile_says_why() {
        assert_eq!(compile("request.user").unwrap_err(), "must evaluate to bool but got string");
        assert!(
            compile("request.nothing == ''")
                .unwrap_err()
                .starts_with("compilation failed: ERROR: <input>:1:8: undefined field 'nothing'")
        );
    }
}
