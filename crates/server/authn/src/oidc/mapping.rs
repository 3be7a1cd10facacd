//! From claims to a user: names, groups, uid and extra facts, and the rules that claims and user must obey.

use cel::Program;
use serde_json::Value as Json;

use super::claims::{self, Claims};
use super::expressions::{self, Mapped};
use super::file::{Authenticator, ClaimOrExpression, PrefixedClaimOrExpression};
use crate::user::User;

/// Where a value comes from.
enum Source {
    Claim { name: String, prefix: String },
    Expression(Program),
    Nowhere,
}

/// A rule that is an expression.
struct Rule {
    program: Program,
    message: String,
}

/// See the module.
pub(super) struct Mapping {
    username: Source,
    groups: Source,
    uid: Source,
    extra: Vec<(String, Program)>,
    /// Claims that must have a value, in the order of the configuration.
    required: Vec<(String, String)>,
    claim_rules: Vec<Rule>,
    user_rules: Vec<Rule>,
}

impl Mapping {
    /// Compiles a configuration's mapping; it was validated, so an error is one of validation that was left out.
    pub(super) fn new(authenticator: &Authenticator) -> Result<Self, String> {
        let mappings = &authenticator.claim_mappings;
        let rules = &authenticator.claim_validation_rules;
        let (required, conditions): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| !rule.claim.is_empty());
        let rule = |program: Result<Program, String>, message: &str| {
            program.map(|program| Rule { program, message: message.to_owned() })
        };
        Ok(Mapping {
            username: prefixed(&mappings.username)?,
            groups: prefixed(&mappings.groups)?,
            uid: plain(&mappings.uid)?,
            extra: mappings
                .extra
                .iter()
                .map(|m| Ok((m.key.clone(), expressions::over_claims(&m.value_expression)?)))
                .collect::<Result<_, String>>()?,
            required: required.iter().map(|r| (r.claim.clone(), r.required_value.clone())).collect(),
            claim_rules: conditions
                .iter()
                .map(|r| rule(expressions::claims_condition(&r.expression), &r.message))
                .collect::<Result<_, _>>()?,
            user_rules: authenticator
                .user_validation_rules
                .iter()
                .map(|r| rule(expressions::user_condition(&r.expression), &r.message))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The claim that groups come from, which may be a distributed one.
    pub(super) fn groups_claim(&self) -> Option<String> {
        match &self.groups {
            Source::Claim { name, .. } => Some(name.clone()),
            _ => None,
        }
    }

    /// The user whom the claims describe.
    pub(super) fn user(&self, claims: Claims) -> Result<User, String> {
        let value = expressions::claims_value(claims);
        // It was made an object a line above.
        let empty = Claims::new();
        let claims = value.as_object().unwrap_or(&empty);
        let mut user = User::new(self.username(claims, &value)?, &[]);
        user.groups = self.groups(claims, &value)?.into_iter().map(Into::into).collect();
        user.uid = self.uid(claims, &value)?.into();
        self.extra(&mut user, claims, &value)?;
        for (name, wanted) in &self.required {
            if !claims.contains_key(name) {
                return Err(format!("oidc: required claim {name} not present in ID token"));
            }
            let found = claims::text(claims, name).map_err(|e| format!("oidc: parse claim {name}: {e}"))?;
            if found != *wanted {
                return Err(format!(
                    "oidc: required claim {name} value does not match. Got = {found}, want = {wanted}"
                ));
            }
        }
        let failed = |error| format!("oidc: error evaluating claim validation expression: {error}");
        obey(&self.claim_rules, |program| expressions::claims_hold(program, &value)).map_err(failed)?;
        if !self.user_rules.is_empty() {
            let value = expressions::user_value(&user);
            let failed = |error| format!("oidc: error evaluating user info validation rule: {error}");
            obey(&self.user_rules, |program| expressions::user_holds(program, &value)).map_err(failed)?;
        }
        user.authenticated();
        Ok(user)
    }

    fn username(&self, claims: &Claims, value: &Json) -> Result<String, String> {
        let failed = |error| format!("oidc: error evaluating username claim expression: {error}");
        match &self.username {
            Source::Expression(program) => match expressions::map(program, value).map_err(failed)? {
                Mapped::Text(text) if text.is_empty() => {
                    Err("oidc: empty username via CEL expression is not allowed".to_owned())
                }
                Mapped::Text(text) => Ok(text),
                _ => Err(failed("username claim expression must return a string".to_owned())),
            },
            Source::Claim { name, prefix } => {
                let text = claims::text(claims, name)
                    .map_err(|error| format!("oidc: parse username claims {name:?}: {error}"))?;
                if name == "email" && claims.contains_key("email_verified") {
                    let verified = claims::flag(claims, "email_verified")
                        .map_err(|error| format!("oidc: parse 'email_verified' claim: {error}"))?;
                    if !verified {
                        return Err("oidc: email not verified".to_owned());
                    }
                }
                Ok(format!("{prefix}{text}"))
            }
            Source::Nowhere => Err("oidc: parse username claims \"\": claim not present".to_owned()),
        }
    }

    fn groups(&self, claims: &Claims, value: &Json) -> Result<Vec<String>, String> {
        let failed = |error| format!("oidc: error evaluating group claim expression: {error}");
        match &self.groups {
            Source::Claim { name, prefix } => {
                let Some(found) = claims.get(name) else { return Ok(Vec::new()) };
                let groups = claims::texts(found)
                    .map_err(|error| format!("oidc: parse groups claim {name:?}: {error}"))?;
                Ok(groups.into_iter().map(|group| format!("{prefix}{group}")).collect())
            }
            Source::Expression(program) => {
                list(expressions::map(program, value).map_err(failed)?).map_err(failed)
            }
            Source::Nowhere => Ok(Vec::new()),
        }
    }

    fn uid(&self, claims: &Claims, value: &Json) -> Result<String, String> {
        let failed = |error| format!("oidc: error evaluating uid claim expression: {error}");
        match &self.uid {
            Source::Claim { name, .. } => {
                claims::text(claims, name).map_err(|error| format!("oidc: parse uid claim {name:?}: {error}"))
            }
            Source::Expression(program) => match expressions::map(program, value).map_err(failed)? {
                Mapped::Text(text) => Ok(text),
                _ => Err(failed("uid claim expression must return a string".to_owned())),
            },
            Source::Nowhere => Ok(String::new()),
        }
    }

    fn extra(&self, user: &mut User, claims: &Claims, value: &Json) -> Result<(), String> {
        if let Ok(id) = claims::text(claims, "jti")
            && !id.is_empty()
        {
            user.add_extra("authentication.kubernetes.io/credential-id", format!("JTI={id}"));
        }
        for (key, program) in &self.extra {
            let mapped = expressions::map(program, value)?;
            let values = list(mapped).map_err(|error| {
                format!("oidc: error evaluating extra claim expression: {}: {error}", program.source())
            })?;
            values.into_iter().for_each(|value| user.add_extra(key, value));
        }
        Ok(())
    }
}

/// Texts, the empty ones left out.
fn list(mapped: Mapped) -> Result<Vec<String>, String> {
    let mut texts = match mapped {
        Mapped::Nothing => Vec::new(),
        Mapped::Text(text) => vec![text],
        Mapped::Texts(texts) => texts,
        Mapped::Other => return Err("expression must return a string or a list of strings".to_owned()),
    };
    texts.retain(|text| !text.is_empty());
    Ok(texts)
}

fn obey(rules: &[Rule], ask: impl Fn(&Program) -> Result<Option<bool>, String>) -> Result<(), String> {
    for Rule { program, message } in rules {
        match ask(program)? {
            Some(true) => {}
            Some(false) => {
                return Err(format!("validation expression '{}' failed: {message}", program.source()));
            }
            None => return Err("validation expression must return a boolean".to_owned()),
        }
    }
    Ok(())
}

fn prefixed(mapping: &PrefixedClaimOrExpression) -> Result<Source, String> {
    if !mapping.expression.is_empty() {
        return expressions::over_claims(&mapping.expression).map(Source::Expression);
    }
    if mapping.claim.is_empty() {
        return Ok(Source::Nowhere);
    }
    Ok(Source::Claim { name: mapping.claim.clone(), prefix: mapping.prefix.clone().unwrap_or_default() })
}

fn plain(mapping: &ClaimOrExpression) -> Result<Source, String> {
    prefixed(&PrefixedClaimOrExpression {
        claim: mapping.claim.clone(),
        prefix: None,
        expression: mapping.expression.clone(),
    })
}
