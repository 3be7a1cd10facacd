//! Named formats: `format.dns1123Label().validate(name)`.

use base64::Engine as _;
use meta::names::{Messages, label_value, name_1035_label, name_label, name_subdomain, qualified_name};

use super::url::Url;
use super::{Call, Row, wrong_type};
use crate::eval::EvalError;
use crate::value::{Opaque, Value, parse_timestamp};

/// A format.
#[derive(Debug)]
pub struct NamedFormat {
    /// What the function is called.
    pub name: &'static str,
    /// What is wrong with a text.
    validate: fn(&str) -> Messages,
    /// Size of a pattern that would do the same, for the cost.
    pub regex_size: u64,
}

const FORMATS: [NamedFormat; 13] = [
    NamedFormat { name: "dns1123Label", validate: |s| name_label(s, false), regex_size: 30 },
    NamedFormat { name: "dns1123Subdomain", validate: |s| name_subdomain(s, false), regex_size: 60 },
    NamedFormat { name: "dns1035Label", validate: |s| name_1035_label(s, false), regex_size: 30 },
    NamedFormat { name: "qualifiedName", validate: qualified_name, regex_size: 60 },
    NamedFormat { name: "dns1123LabelPrefix", validate: |s| name_label(s, true), regex_size: 30 },
    NamedFormat { name: "dns1123SubdomainPrefix", validate: |s| name_subdomain(s, true), regex_size: 60 },
    NamedFormat { name: "dns1035LabelPrefix", validate: |s| name_1035_label(s, true), regex_size: 30 },
    NamedFormat { name: "labelValue", validate: label_value, regex_size: 40 },
    NamedFormat { name: "uri", validate: uri, regex_size: 1_000 },
    NamedFormat { name: "uuid", validate: uuid, regex_size: 82 },
    NamedFormat { name: "byte", validate: byte, regex_size: 87 },
    NamedFormat { name: "date", validate: date, regex_size: 112 },
    NamedFormat { name: "datetime", validate: datetime, regex_size: 112 },
];

static TABLE: [NamedFormat; 13] = FORMATS;

macro_rules! constants {
    ($($name:literal),*) => {
        &[
            Row { name: "format.named", run: named, overloads: &["format-named: (string) -> optional(kubernetes.NamedFormat)"] },
            Row {
                name: "validate",
                run: validate,
                overloads: &["format-validate: kubernetes.NamedFormat.(string) -> optional(list(string))"],
            },
            $(Row {
                name: concat!("format.", $name),
                run: constant,
                overloads: &[concat!("format.", $name, ": () -> kubernetes.NamedFormat")],
            },)*
        ]
    };
}

pub(super) const FUNCTIONS: &[Row] = constants!(
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime"
);

fn find<'a>(name: &str) -> Option<Value<'a>> {
    TABLE.iter().find(|format| format.name == name).map(|format| Value::Opaque(Opaque::Format(format)))
}

fn named<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(find(call.str(0)?).map_or(Value::NONE, Value::some))
}

fn constant<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    call.name.strip_prefix("format.").and_then(find).ok_or_else(|| wrong_type(call))
}

fn validate<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let Some(Value::Opaque(Opaque::Format(format))) = call.args.first() else { return Err(wrong_type(call)) };
    let problems = (format.validate)(call.str(1)?);
    if problems.is_empty() {
        return Ok(Value::NONE);
    }
    Ok(Value::some(Value::list(
        problems.into_iter().map(|problem| Value::from(problem.into_owned())).collect(),
    )))
}

fn uri(text: &str) -> Messages {
    Url::parse(text).err().map(Into::into).into_iter().collect()
}

fn unless(fine: bool, message: &'static str) -> Messages {
    if fine { Vec::new() } else { vec![message.into()] }
}

fn uuid(text: &str) -> Messages {
    let dashed = text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
    let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    unless(dashed || plain, "does not match the UUID format")
}

fn byte(text: &str) -> Messages {
    unless(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64")
}

fn date(text: &str) -> Messages {
    unless(text.len() == 10 && parse_timestamp(&format!("{text}T00:00:00Z")).is_some(), "invalid date")
}

fn datetime(text: &str) -> Messages {
    unless(parse_timestamp(text).is_some(), "invalid datetime")
}
