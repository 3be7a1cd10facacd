//! CEL expressions that select devices: what `device` is to them, compiled once and evaluated within upstream's budget.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cel::schema::DeclKind;
use cel::{
    Activation, Budget, DeclType, Env, EvalError, Fields, Key, Map, Opaque, PER_CALL_LIMIT, Program, Type,
    Value,
};
use hashbrown::HashMap;
use meta::Str;
use parking_lot::Mutex;
use types::resource::v1::DeviceAttribute;

use super::pools::Reachable;

/// `device`: driver, attributes and capacity by domain and name, and whether several may share it.
static DEVICE: LazyLock<Env> = LazyLock::new(|| {
    let dynamic = DeclType::map(DeclType::map(DeclType::simple(DeclKind::Dyn)));
    let quantity = DeclKind::Opaque(Type::Opaque("kubernetes.Quantity".into(), Vec::new()));
    let device = DeclType::object(&[
        ("driver", DeclType::simple(DeclKind::String)),
        ("attributes", dynamic),
        ("capacity", DeclType::map(DeclType::map(DeclType::simple(quantity)))),
        ("allowMultipleAllocations", DeclType::simple(DeclKind::Bool)),
    ]);
    Env::new().declared("device", "DRADevice", device).with_bind()
});

/// Makes a semantic version of its text.
static VERSION: LazyLock<Option<Program>> =
    LazyLock::new(|| Env::new().variable("text", Type::String).compile("semver(text)").ok());

/// Expressions kept compiled, with what they said about devices.
const EXPRESSIONS_MAX: usize = 1024;

/// Compiled expressions, and which devices each selects. Devices do not change within a slice's object.
#[derive(Default)]
pub struct Selectors(Mutex<HashMap<Str, Expression>>);

struct Expression {
    program: Arc<Program>,
    /// By address of the slice, which lives as long as the cluster has it, and place in it.
    selected: HashMap<(usize, usize), bool>,
}

/// Attributes or capacity by domain; a domain that the device has nothing of is empty.
struct Domains<'d> {
    device: &'d Reachable,
    capacity: bool,
}

/// A name's domain, the driver's when it has none, and the rest.
fn split<'a>(driver: &'a str, name: &'a str) -> (&'a str, &'a str) {
    name.split_once('/').unwrap_or((driver, name))
}

fn attribute<'a>(attribute: &DeviceAttribute) -> Option<Value<'a>> {
    if let Some(number) = attribute.int {
        return Some(number.into());
    }
    if let Some(flag) = attribute.bool {
        return Some(flag.into());
    }
    if let Some(text) = &attribute.string {
        return Some(text.to_string().into());
    }
    if let Some(text) = &attribute.version {
        let version = VERSION.as_ref()?.evaluate(
            &Activation::new().value("text", text.to_string().into()),
            &mut Budget::new(PER_CALL_LIMIT),
        );
        return version.ok();
    }
    let list = |values: Vec<Value<'a>>| (!values.is_empty()).then(|| Value::list(values));
    list(attribute.ints.iter().map(|value| (*value).into()).collect())
        .or_else(|| list(attribute.bools.iter().map(|value| (*value).into()).collect()))
        .or_else(|| list(attribute.strings.iter().map(|value| value.to_string().into()).collect()))
}

impl<'a> Fields<'a> for Domains<'_> {
    fn get(&self, domain: &str) -> Option<Result<Value<'a>, EvalError>> {
        let (driver, device) = (self.device.driver(), self.device.device());
        let mut found = BTreeMap::new();
        let mut add = |name: &str, value: Option<Value<'a>>| {
            let (of, short) = split(driver, name);
            if let Some(value) = value.filter(|_| of == domain) {
                found.insert(Key::String(short.into()), value);
            }
        };
        if self.capacity {
            for (name, capacity) in &device.capacity {
                add(name, Some(Value::Opaque(Opaque::Quantity(capacity.value))));
            }
        } else {
            for (name, value) in &device.attributes {
                add(name, attribute(value));
            }
        }
        Some(Ok(Value::Map(Map::Built(Arc::new(found)))))
    }
}

impl Selectors {
    fn program(&self, expression: &Str) -> Result<Arc<Program>, String> {
        let mut known = self.0.lock();
        if let Some(known) = known.get(expression) {
            return Ok(known.program.clone());
        }
        let program = DEVICE.compile(expression).map_err(|error| format!("CEL compile error: {error}"))?;
        let program = Arc::new(program);
        if known.len() >= EXPRESSIONS_MAX {
            known.clear();
        }
        let fresh = Expression { program: program.clone(), selected: HashMap::new() };
        known.insert(expression.clone(), fresh);
        Ok(program)
    }

    /// Slices came or went: what was said about devices is void.
    pub fn forget_devices(&self) {
        self.0.lock().values_mut().for_each(|known| known.selected.clear());
    }

    /// Whether the expression selects the device.
    pub(super) fn select(&self, expression: &Str, device: &Reachable) -> Result<bool, String> {
        let place = device.place();
        if let Some(selected) = self.0.lock().get(expression).and_then(|known| known.selected.get(&place)) {
            return Ok(*selected);
        }
        let selected = evaluate(&*self.program(expression)?, device)?;
        if let Some(known) = self.0.lock().get_mut(expression) {
            known.selected.insert(place, selected);
        }
        Ok(selected)
    }
}

fn evaluate(program: &Program, device: &Reachable) -> Result<bool, String> {
    let attributes = Domains { device, capacity: false };
    let capacity = Domains { device, capacity: true };
    let shared = device.device().allow_multiple_allocations == Some(true);
    let fields = BTreeMap::from([
        (Key::String("driver".into()), device.driver().to_string().into()),
        (Key::String("attributes".into()), Value::Map(Map::Lazy(&attributes))),
        (Key::String("capacity".into()), Value::Map(Map::Lazy(&capacity))),
        (Key::String("allowMultipleAllocations".into()), shared.into()),
    ]);
    let activation = Activation::new().value("device", Value::Map(Map::Built(Arc::new(fields))));
    let value = program
        .evaluate(&activation, &mut Budget::new(PER_CALL_LIMIT))
        .map_err(|error| format!("CEL runtime error: {error}"))?;
    Ok(value.as_bool() == Some(true))
}
