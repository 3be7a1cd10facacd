//! Expressions in built-in kinds: which variables each sort of them sees, and what its result must be.
//!
//! Both the validation of policies and webhooks and those who run them compile through here, so that what was accepted
//! runs.

use std::sync::{Arc, LazyLock};

use cel::schema::{Builtin, DeclKind};
use cel::{DeclType, Env, Program, Type};
use meta::Struct;

/// Why an expression is not accepted; displays as upstream words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not compile.
    #[error("{stage} failed: {0}", stage = .0.stage())]
    Compile(#[from] cel::CompileError),
    /// It gives something else than it must.
    #[error("must evaluate to {wanted} but got {found}")]
    Result {
        /// The type, or the types, that it must give.
        wanted: String,
        /// The type that it gives.
        found: String,
    },
}

/// Compiles an expression that must give one of `wanted`; none at all means that any type will do.
pub fn compile(env: &Env, expression: &str, wanted: &[Type]) -> Result<Program, Refused> {
    let program = env.compile(expression)?;
    let found = program.result_type();
    if wanted.is_empty() || wanted.contains(found) {
        return Ok(program);
    }
    let found = found.to_string();
    let wanted = match wanted {
        [one] => one.to_string(),
        several => {
            let names: Vec<&str> = several.iter().map(Type::name).collect();
            format!("one of [{}]", names.join(" "))
        }
    };
    Err(Refused::Result { wanted, found })
}

/// The variables of admission: `object`, `oldObject`, `request`, `authorizer` and `authorizer.requestResource`.
pub fn admission() -> &'static Env {
    static ENV: LazyLock<Env> = LazyLock::new(|| {
        Env::new()
            .variable("object", Type::Dyn)
            .variable("oldObject", Type::Dyn)
            .declared("request", "kubernetes.AdmissionRequest", request_type())
            .variable("authorizer", Type::opaque("kubernetes.authorization.Authorizer"))
            .variable("authorizer.requestResource", Type::opaque("kubernetes.authorization.ResourceCheck"))
    });
    &ENV
}

/// The variables of policies: those of admission, the namespace, and `params` for policies that take some.
pub fn policy(params: bool) -> Env {
    static BOTH: LazyLock<[Env; 2]> = LazyLock::new(|| {
        let without =
            admission().clone().declared("namespaceObject", "kubernetes.Namespace", namespace_type());
        let with = without.clone().variable("params", Type::Dyn);
        [without, with]
    });
    BOTH[usize::from(params)].clone()
}

/// The declared type of one of these variables, through which its values are to be seen.
pub fn policy_type(variable: &str) -> Option<&'static DeclType> {
    static ENV: LazyLock<Env> = LazyLock::new(|| policy(false));
    ENV.declared_type(variable).map(|declared| &**declared)
}

/// The environment with the variables that a policy names itself, as fields of `variables`. Of several of one name the
/// last is meant.
pub fn with_variables(env: &Env, variables: &[(Arc<str>, Type)]) -> Env {
    let fields: Vec<(&str, Arc<DeclType>)> = variables
        .iter()
        .map(|(name, ty)| (&**name, DeclType::simple(DeclKind::Opaque(ty.clone()))))
        .collect();
    env.clone().declared("variables", "kubernetes.variables", DeclType::object(&fields))
}

/// What device selectors see: `device`.
pub fn device() -> &'static Env {
    static ENV: LazyLock<Env> = LazyLock::new(|| {
        let simple = DeclType::simple;
        let quantity = simple(DeclKind::Opaque(Type::opaque("kubernetes.Quantity")));
        let device = DeclType::object(&[
            ("driver", simple(DeclKind::String)),
            ("attributes", DeclType::map(DeclType::map(simple(DeclKind::Dyn)))),
            ("capacity", DeclType::map(DeclType::map(quantity))),
            ("allowMultipleAllocations", simple(DeclKind::Bool)),
        ]);
        Env::new().declared("device", "kubernetes.DRADevice", device).with_bind()
    });
    &ENV
}

/// The type that a built-in kind's schema declares, for type checking against the kinds that a policy matches.
pub fn builtin_type<T: Struct>() -> Option<Arc<DeclType>> {
    DeclType::of(&Builtin::of(T::INFO), false)
}

fn request_type() -> Arc<DeclType> {
    let simple = DeclType::simple;
    let text = || simple(DeclKind::String);
    let kind = || DeclType::object(&[("group", text()), ("version", text()), ("kind", text())]);
    let resource = || DeclType::object(&[("group", text()), ("version", text()), ("resource", text())]);
    let user = DeclType::object(&[
        ("username", text()),
        ("uid", text()),
        ("groups", DeclType::list(text())),
        ("extra", DeclType::map(DeclType::list(text()))),
    ]);
    DeclType::object(&[
        ("kind", kind()),
        ("resource", resource()),
        ("subResource", text()),
        ("requestKind", kind()),
        ("requestResource", resource()),
        ("requestSubResource", text()),
        ("name", text()),
        ("namespace", text()),
        ("operation", text()),
        ("userInfo", user),
        ("dryRun", simple(DeclKind::Bool)),
        ("options", simple(DeclKind::Dyn)),
    ])
}

fn namespace_type() -> Arc<DeclType> {
    let simple = DeclType::simple;
    let text = || simple(DeclKind::String);
    let texts = || DeclType::map(text());
    let metadata = DeclType::object(&[
        ("name", text()),
        ("generateName", text()),
        ("namespace", text()),
        ("labels", texts()),
        ("annotations", texts()),
        ("UID", text()),
        ("creationTimestamp", simple(DeclKind::Timestamp)),
        ("deletionGracePeriodSeconds", simple(DeclKind::Int)),
        ("deletionTimestamp", simple(DeclKind::Timestamp)),
        ("generation", simple(DeclKind::Int)),
        ("resourceVersion", text()),
        ("finalizers", DeclType::list(text())),
    ]);
    let condition = DeclType::object(&[
        ("status", text()),
        ("type", text()),
        ("lastTransitionTime", simple(DeclKind::Timestamp)),
        ("message", text()),
        ("reason", text()),
    ]);
    DeclType::object(&[
        ("metadata", metadata),
        ("spec", DeclType::object(&[("finalizers", DeclType::list(text()))])),
        ("status", DeclType::object(&[("conditions", DeclType::list(condition)), ("phase", text())])),
    ])
}
