//! CEL, the Common Expression Language, as Kubernetes runs it.
//!
//! An [`Env`] says which variables there are and of which types; [`Env::compile`] parses and checks an expression against it
//! and gives a [`Program`], which knows the type of its result and what evaluating it may cost. [`Program::evaluate`]
//! runs it over an [`Activation`] within a [`Budget`].
//!
//! ```
//! use cel::{Activation, Budget, Env, Type};
//!
//! let env = Env::new().variable("object", Type::Dyn);
//! let program = env.compile("object.replicas <= 5 && object.name.startsWith('web-')").unwrap();
//! let object = serde_json::json!({ "replicas": 3, "name": "web-1" });
//! let activation = Activation::new().json("object", &object, None);
//! let value = program.evaluate(&activation, &mut Budget::new(1_000)).unwrap();
//! assert_eq!(value.as_bool(), Some(true));
//! ```
//!
//! The parser ([`parser`]) is this crate's own, because its problems have to read as the reference's do and because it must be
//! bounded in depth whatever it is given. Types, overloads and unification are in `check`, the cost model (one table for
//! estimates and for what is charged) in `cost`, evaluation in `eval`, functions in `library`, one file per
//! library. Objects are never copied: values look at JSON through the types that their schema declares ([`schema`]).

mod ast;
mod check;
mod cost;
mod env;
mod eval;
mod library;
mod parser;
mod pattern;
mod program;
pub mod schema;
mod selects;
mod source;
mod types;
mod value;

pub use cost::{CostEstimate, SizeEstimate};
pub use env::Env;
pub use eval::{Activation, Budget, EvalError, PER_CALL_LIMIT};
pub use library::authorizer::ResourceCheck;
pub use library::{Authorizer, AuthorizerHandle, Check, Decision};
pub use pattern::{PatternError, compile as compile_pattern};
pub use program::Program;
pub use schema::DeclType;
pub use selects::selects;
pub use source::{CompileError, Problem, Stage};
pub use types::Type;
pub use value::{
    Fields, Key, List, Map, Object, Opaque, Text, Timestamp, Value, format_duration, parse_duration,
    parse_timestamp, to_json,
};
