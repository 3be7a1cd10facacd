//! The JSON forms that Go writes by hand: schema-or-bool, schema-or-list, schema-or-names.

use meta::json::{JsonReader, JsonWriter};
use meta::{DecodeError, Struct, Value};

use crate::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, JSONSchemaPropsOrStringArray,
};

/// Reads a schema. Nobody is told of unknown or repeated fields in it: what Go reads by hand, it does not read strictly.
fn schema(r: &mut JsonReader<'_>) -> Result<Option<Box<JSONSchemaProps>>, DecodeError> {
    let mut schema = Box::<JSONSchemaProps>::default();
    r.unnoticed(|r| schema.read_json_value(r))?;
    Ok(Some(schema))
}

pub(crate) mod json_schema_props_or_bool {
    use super::*;

    pub(crate) fn write(v: &JSONSchemaPropsOrBool, w: &mut JsonWriter) {
        match &v.schema {
            Some(schema) => schema.write_json_value(w),
            None => v.allows.write_json(w),
        }
    }

    pub(crate) fn read(v: &mut JSONSchemaPropsOrBool, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        *v = JSONSchemaPropsOrBool::default();
        match r.peek()? {
            b'{' => {
                v.allows = true;
                v.schema = schema(r)?;
            }
            b't' | b'f' => v.allows = r.boolean()?,
            _ => {
                r.skip_value()?;
                return Err(DecodeError::text("boolean or JSON schema expected"));
            }
        }
        Ok(())
    }
}

pub(crate) mod json_schema_props_or_array {
    use super::*;

    pub(crate) fn write(v: &JSONSchemaPropsOrArray, w: &mut JsonWriter) {
        if v.json_schemas.is_empty() { v.schema.write_json(w) } else { v.json_schemas.write_json(w) }
    }

    pub(crate) fn read(v: &mut JSONSchemaPropsOrArray, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        *v = JSONSchemaPropsOrArray::default();
        match r.peek()? {
            b'{' => v.schema = schema(r)?,
            b'[' => r.unnoticed(|r| v.json_schemas.read_json(r))?,
            _ => r.skip_value()?,
        }
        Ok(())
    }
}

pub(crate) mod json_schema_props_or_string_array {
    use super::*;

    pub(crate) fn write(v: &JSONSchemaPropsOrStringArray, w: &mut JsonWriter) {
        if v.property.is_empty() { v.schema.write_json(w) } else { v.property.write_json(w) }
    }

    pub(crate) fn read(
        v: &mut JSONSchemaPropsOrStringArray,
        r: &mut JsonReader<'_>,
    ) -> Result<(), DecodeError> {
        *v = JSONSchemaPropsOrStringArray::default();
        match r.peek()? {
            b'{' => v.schema = schema(r)?,
            b'[' => v.property.read_json(r)?,
            _ => r.skip_value()?,
        }
        Ok(())
    }
}
