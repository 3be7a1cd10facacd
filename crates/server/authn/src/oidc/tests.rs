//! Issuers in this process: what of their tokens is accepted, mapped and refused, and how a configuration must be.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use env::Env;
use parking_lot::Mutex;
use ring::hmac;
use serde_json::{Value as Json, json};

use super::*;
use crate::testing::{Key, Reply, Server, serve};

const NOW_S: i64 = 1_800_000_000;

/// An issuer's server: discovery, keys that can be exchanged, and a source of distributed claims.
struct Place {
    server: Server,
    keys: Arc<Mutex<Json>>,
    claim: Arc<Mutex<String>>,
}

async fn place(keys: &[(&Key, &str)]) -> Place {
    let list: Vec<Json> = keys.iter().map(|(key, id)| key.jwk(id)).collect();
    let keys = Arc::new(Mutex::new(json!({ "keys": list })));
    let claim = Arc::new(Mutex::new(String::new()));
    let url = Arc::new(Mutex::new(String::new()));
    let (served, own, source) = (keys.clone(), url.clone(), claim.clone());
    let server = serve(move |asked| {
        let url = own.lock().clone();
        let text = match asked.path.as_str() {
            "/.well-known/openid-configuration" => {
                json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string()
            }
            "/keys" => served.lock().to_string(),
            "/groups" if asked.authorization == "Bearer s3cret" => source.lock().clone(),
            other => return Reply::Text(404, format!("nothing is at {other}")),
        };
        Reply::Text(200, text)
    })
    .await;
    *url.lock() = server.url.clone();
    Place { server, keys, claim }
}

/// An AuthenticationConfiguration with one issuer; `rest` are the fields beside `issuer`.
fn configuration(place: &Place, rest: &Json) -> Configuration {
    let mut jwt = rest.clone();
    jwt["issuer"] = json!({
        "url": place.server.url, "audiences": ["me", "you"], "audienceMatchPolicy": "MatchAny",
        "certificateAuthority": place.server.authority_pem,
    });
    let file = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt],
    });
    let configuration = Configuration::parse(&file.to_string()).unwrap();
    configuration.validate(&[]).unwrap();
    configuration
}

fn by_claim() -> Json {
    json!({ "claimMappings": { "username": { "claim": "sub", "prefix": "o:" }, "groups": { "claim": "groups", "prefix": "" } } })
}

async fn start(configuration: &Configuration) -> Issuers {
    let issuers = Issuers::start(configuration, &Env::real()).unwrap();
    issuers.ready(Duration::from_secs(20)).await.unwrap();
    issuers
}

fn claims(place: &Place, more: Json) -> Json {
    let mut claims = json!({ "iss": place.server.url, "aud": "me", "sub": "alice", "exp": NOW_S + 60 });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn refusal(issuers: &Issuers, token: &str) -> String {
    match issuers.check(token, NOW_S).await {
        Err(errors) => errors.join(", "),
        Ok(found) => panic!("accepted: {found:?}"),
    }
}

#[tokio::test]
async fn every_algorithm_of_a_fitting_key_is_accepted() {
    let (rsa, p256, p384) = (Key::rsa(), Key::p256(), Key::p384());
    let place = place(&[(&rsa, "r"), (&p256, "e"), (&p384, "f")]).await;
    let issuers = start(&configuration(&place, &by_claim())).await;
    let table = [
        (&rsa, "r", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        (&p256, "e", &["ES256"][..]),
        (&p384, "f", &["ES384"][..]),
    ];
    for (key, id, algorithms) in table {
        for algorithm in algorithms {
            let more = json!({ "groups": ["dev", "ops"], "jti": algorithm });
            let token = key.sign(&json!({ "alg": algorithm, "kid": id }), &claims(&place, more));
            let user = issuers.check(&token, NOW_S).await.unwrap().unwrap();
            assert_eq!(user.name, "o:alice", "{algorithm}");
            assert_eq!(user.groups, ["dev", "ops", "system:authenticated"].map(meta::Str::from).to_vec());
            assert_eq!(user.extra[0].1[0], format!("JTI={algorithm}"));
        }
    }
}

#[tokio::test]
async fn bad_tokens_are_refused_in_upstreams_words() {
    let (key, stranger) = (Key::rsa(), Key::p256());
    let place = place(&[(&key, "k")]).await;
    let issuers = start(&configuration(&place, &by_claim())).await;
    let good = claims(&place, json!({}));
    let header = json!({ "alg": "RS256", "kid": "k" });
    let token = key.sign(&header, &good);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (_, payload) = message.split_once('.').unwrap();
    let with = |header: &Json| format!("{}.{payload}.{signature}", B64.encode(header.to_string()));
    // The public key as the secret of a symmetric algorithm.
    let confused = {
        let message = format!("{}.{payload}", B64.encode(r#"{"alg":"HS256","kid":"k"}"#));
        let secret = hmac::Key::new(hmac::HMAC_SHA256, key.jwk("k").to_string().as_bytes());
        format!("{message}.{}", B64.encode(hmac::sign(&secret, message.as_bytes())))
    };
    let algorithms = r#"["ES256" "ES384" "PS256" "PS384" "PS512" "RS256" "RS384" "RS512"]"#;
    let unsupported = |name: &str| {
        format!(
            "oidc: verify token: oidc: id token signed with unsupported algorithm, expected {algorithms} got {name:?}"
        )
    };
    let bad_signature =
        "oidc: verify token: failed to verify signature: failed to verify id token signature".to_owned();
    let signed = |more: Json| key.sign(&header, &claims(&place, more));
    let doubled = format!(
        r#"{{"iss":"{url}","aud":"me","sub":"alice","sub":"root","exp":{}}}"#,
        NOW_S + 60,
        url = place.server.url
    );
    let table = [
        ("none", format!("{}.{payload}.", B64.encode(r#"{"alg":"none"}"#)), unsupported("none")),
        ("HS256 with the public key", confused, unsupported("HS256")),
        ("no algorithm", with(&json!({ "kid": "k" })), unsupported("")),
        ("another key's algorithm", with(&json!({ "alg": "ES256", "kid": "k" })), bad_signature.clone()),
        ("an unknown key", with(&json!({ "alg": "RS256", "kid": "../../k" })), bad_signature.clone()),
        ("a stranger's key", stranger.sign(&json!({ "alg": "ES256", "kid": "k" }), &good), bad_signature.clone()),
        (
            "a key in the token",
            stranger.sign(&json!({ "alg": "ES256", "jwk": stranger.jwk("k") }), &good),
            bad_signature.clone(),
        ),
        ("a changed payload", token.replace(payload, &B64.encode(claims(&place, json!({ "sub": "root" })).to_string())), bad_signature.clone()),
        ("no signature", format!("{message}."), bad_signature.clone()),
        ("half a signature", token[..token.len() - 102].to_owned(), bad_signature.clone()),
        ("an extension", with(&json!({ "alg": "RS256", "crit": ["x"] })), "oidc: verify token: oidc: malformed jwt: square/go-jose: unsupported crit header".into()),
        ("a claim twice", key.sign_text(&header, &doubled), String::new()),
        ("an end in the past", signed(json!({ "exp": NOW_S - 1 })), "oidc: verify token: oidc: token is expired (Token Expiry: 2027-01-15 07:59:59 +0000 UTC)".into()),
        ("no end", signed(json!({ "exp": null })), "oidc: verify token: oidc: token is expired (Token Expiry: 0001-01-01 00:00:00 +0000 UTC)".into()),
        ("a beginning to come", signed(json!({ "nbf": NOW_S + 90 })), "oidc: verify token: oidc: current time 2027-01-15 08:00:00 +0000 UTC before the nbf (not before) time: 2027-01-15 08:01:30 +0000 UTC".into()),
        ("another audience", signed(json!({ "aud": ["them"] })), "oidc: verify token: oidc: expected audience in [\"me\" \"you\"] got [\"them\"]".into()),
        ("no audience", signed(json!({ "aud": null })), "oidc: verify token: oidc: expected audience in [\"me\" \"you\"] got []".into()),
        ("a number for a name", signed(json!({ "sub": 7 })), "oidc: parse username claims \"sub\": json: cannot unmarshal number into Go value of type string".into()),
        ("numbers for groups", signed(json!({ "groups": [1] })), "oidc: parse groups claim \"groups\": json: cannot unmarshal array into Go value of type string".into()),
    ];
    for (what, token, expected) in table {
        if expected.is_empty() {
            // Such a token has no issuer that could be trusted to be the one that is read later.
            assert_eq!(issuers.check(&token, NOW_S).await, Ok(None), "{what}");
        } else {
            assert_eq!(refusal(&issuers, &token).await, expected, "{what}");
        }
    }
    for foreign in ["", "a.b", "a.b.c.d", "...", &message[..message.len() - 10], &"x".repeat(1 << 20)] {
        assert_eq!(issuers.check(foreign, NOW_S).await, Ok(None), "{:.20}", foreign);
    }
}

#[tokio::test]
async fn new_keys_are_fetched_but_not_for_every_bad_token() {
    let (old, new) = (Key::p256(), Key::p256());
    let place = place(&[(&old, "old")]).await;
    let (env, clock) = Env::simulated(1);
    let issuers = Issuers::start(&configuration(&place, &by_claim()), &env).unwrap();
    issuers.0[0].search.provider.ready().await;
    let sign = |key: &Key, id: &str, n: i32| {
        key.sign(&json!({ "alg": "ES256", "kid": id }), &claims(&place, json!({ "jti": n.to_string() })))
    };
    issuers.check(&sign(&old, "old", 0), NOW_S).await.unwrap().unwrap();
    let after_first = place.server.calls.load(std::sync::atomic::Ordering::SeqCst);
    for n in 0..20 {
        issuers.check(&sign(&new, "new", n), NOW_S).await.unwrap_err();
    }
    assert_eq!(place.server.calls.load(std::sync::atomic::Ordering::SeqCst), after_first);
    *place.keys.lock() = json!({ "keys": [new.jwk("new")] });
    clock.advance(Duration::from_secs(2));
    issuers.check(&sign(&new, "new", 0), NOW_S).await.unwrap().unwrap();
    assert_eq!(place.server.calls.load(std::sync::atomic::Ordering::SeqCst), after_first + 1);
    // The old key is gone, so a token that was not seen before is refused.
    issuers.check(&sign(&old, "old", 1), NOW_S).await.unwrap_err();
}

#[tokio::test]
async fn expressions_map_and_validate() {
    let key = Key::p256();
    let place = place(&[(&key, "k")]).await;
    let rest = json!({
        "claimValidationRules": [
            { "claim": "hd", "requiredValue": "example.com" },
            { "expression": "claims.exp - claims.nbf <= 86400", "message": "too long" },
        ],
        "claimMappings": {
            "username": { "expression": "claims.email_verified ? claims.email : ''" },
            "groups": { "expression": "claims.roles.split(',')" },
            "uid": { "expression": "claims.sub" },
            "extra": [{ "key": "example.com/tenant", "valueExpression": "claims.tenant" }, { "key": "example.com/none", "valueExpression": "''" }],
        },
        "userValidationRules": [{ "expression": "!user.username.startsWith('system:')", "message": "reserved" }],
    });
    let issuers = start(&configuration(&place, &rest)).await;
    let sign = |more: Json| {
        let mut whole = claims(
            &place,
            json!({
                "email": "a@example.com", "email_verified": true, "roles": "dev,,ops", "tenant": ["t1", "t2"],
                "hd": "example.com", "nbf": NOW_S,
            }),
        );
        for (name, value) in more.as_object().unwrap() {
            whole[name] = value.clone();
        }
        key.sign(&json!({ "alg": "ES256", "kid": "k" }), &whole)
    };
    let user = issuers.check(&sign(json!({})), NOW_S).await.unwrap().unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("a@example.com", "alice"));
    assert_eq!(user.groups, ["dev", "ops", "system:authenticated"].map(meta::Str::from).to_vec());
    assert_eq!(user.extra, vec![("example.com/tenant".into(), vec!["t1".into(), "t2".into()])]);
    let table = [
        (json!({ "email_verified": false }), "oidc: empty username via CEL expression is not allowed"),
        (
            json!({ "hd": "evil.com" }),
            "oidc: required claim hd value does not match. Got = evil.com, want = example.com",
        ),
        (
            json!({ "nbf": NOW_S - 100_000 }),
            "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.nbf <= 86400' failed: too long",
        ),
        (
            json!({ "email": "system:admin" }),
            "oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('system:')' failed: reserved",
        ),
        (
            json!({ "email": 7 }),
            "oidc: error evaluating username claim expression: username claim expression must return a string",
        ),
        (
            json!({ "tenant": 7 }),
            "oidc: error evaluating extra claim expression: claims.tenant: expression must return a string or a list of strings",
        ),
    ];
    for (more, expected) in table {
        assert_eq!(refusal(&issuers, &sign(more)).await, expected);
    }
}

#[tokio::test]
async fn distributed_groups_are_fetched_and_verified() {
    let key = Key::p256();
    let place = place(&[(&key, "k")]).await;
    let issuers = start(&configuration(&place, &by_claim())).await;
    let header = json!({ "alg": "ES256", "kid": "k" });
    let source =
        json!({ "src": { "endpoint": format!("{}/groups", place.server.url), "access_token": "s3cret" } });
    let sign = |n: i32, sources: &Json| {
        let more =
            json!({ "jti": n.to_string(), "_claim_names": { "groups": "src" }, "_claim_sources": sources });
        key.sign(&header, &claims(&place, more))
    };
    *place.claim.lock() = key.sign(&header, &claims(&place, json!({ "groups": ["far"] })));
    // The first use starts the search for the other issuer's keys, and is refused until they are found.
    let mut found = Err(Vec::new());
    for n in 0..200 {
        found = issuers.check(&sign(n, &source), NOW_S).await;
        if found.is_ok() {
            break;
        }
        tokio::task::yield_now().await;
        let searching = issuers.0[0].resolver.as_ref().unwrap().ready(&place.server.url);
        tokio::time::timeout(Duration::from_secs(20), searching).await.unwrap();
    }
    assert_eq!(found.unwrap().unwrap().groups[0], "far");
    *place.claim.lock() = Key::p256().sign(&header, &claims(&place, json!({ "groups": ["root"] })));
    assert_eq!(
        refusal(&issuers, &sign(900, &source)).await,
        "oidc: could not expand distributed claims: verify distributed claim token: failed to verify signature: failed to verify id token signature"
    );
    assert_eq!(
        refusal(&issuers, &sign(901, &json!({}))).await,
        "oidc: could not expand distributed claims: id token _claim_names contained a source src missing in _claims_sources"
    );
}

#[test]
fn configurations_are_refused_as_upstream_refuses_them() {
    let issuer = r#"{"url":"https://i.example","audiences":["a"]}"#;
    let name = r#""claimMappings":{"username":{"claim":"sub","prefix":""}}"#;
    let jwt = |rest: &str| format!(r#"{{"issuer":{issuer},{rest}}}"#);
    let issuer_of = |issuer: &str| format!(r#"{{"issuer":{issuer},{name}}}"#);
    let table: Vec<(String, &str)> = vec![
        (issuer_of(r#"{"audiences":["a"]}"#), "jwt[0].issuer.url: Required value"),
        (
            issuer_of(r#"{"url":"http://u:p@i?q#f","audiences":["a"]}"#),
            "[jwt[0].issuer.url: Invalid value: \"http://u:p@i?q#f\": URL scheme must be https, jwt[0].issuer.url: Invalid value: \"http://u:p@i?q#f\": URL must not contain a username or password, jwt[0].issuer.url: Invalid value: \"http://u:p@i?q#f\": URL must not contain a query, jwt[0].issuer.url: Invalid value: \"http://u:p@i?q#f\": URL must not contain a fragment]",
        ),
        (
            issuer_of(r#"{"url":"https://own","audiences":["a"]}"#),
            "jwt[0].issuer.url: Invalid value: \"https://own\": URL must not overlap with disallowed issuers: [https://own]",
        ),
        (
            issuer_of(r#"{"url":"https://i","discoveryURL":"https://i/","audiences":["a"]}"#),
            "jwt[0].issuer.discoveryURL: Invalid value: \"https://i/\": discoveryURL must be different from URL",
        ),
        (
            issuer_of(r#"{"url":"https://i"}"#),
            "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
        ),
        (
            issuer_of(r#"{"url":"https://i","audiences":["a","a",""]}"#),
            "[jwt[0].issuer.audiences[1]: Duplicate value: \"a\", jwt[0].issuer.audiences[2]: Required value, jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences]",
        ),
        (
            issuer_of(r#"{"url":"https://i","audiences":["a"],"certificateAuthority":"x"}"#),
            "jwt[0].issuer.certificateAuthority: Invalid value: \"<omitted>\": data does not contain any valid RSA or ECDSA certificates",
        ),
        (
            issuer_of(r#"{"url":"https://i","audiences":["a"],"egressSelectorType":"etcd"}"#),
            "jwt[0].issuer.egressSelectorType: Invalid value: \"etcd\": egress selector must be either controlplane or cluster",
        ),
        (
            issuer_of(r#"{"url":"https://i","audiences":["a"],"egressSelectorType":"cluster"}"#),
            "oidc: egress lookup required with egress selector type \"cluster\"",
        ),
        (
            jwt(r#""claimMappings":{}"#),
            "jwt[0].claimMappings.username: Required value: claim or expression is required",
        ),
        (
            jwt(r#""claimMappings":{"username":{"claim":"sub"}}"#),
            "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        ),
        (
            jwt(r#""claimMappings":{"username":{"claim":"sub","expression":"claims.sub"}}"#),
            "jwt[0].claimMappings.username: Invalid value: \"\": claim and expression can't both be set",
        ),
        (
            jwt(r#""claimMappings":{"username":{"expression":"claims.email"}}"#),
            "jwt[0].claimMappings.username.expression: Invalid value: \"claims.email\": claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression",
        ),
        (
            jwt(&format!(
                r#"{name},"claimValidationRules":[{{}},{{"claim":"a","expression":"b"}},{{"claim":"a","message":"m"}},{{"expression":"claims.a"}}]"#
            )),
            "[jwt[0].claimValidationRules[0]: Required value: claim or expression is required, jwt[0].claimValidationRules[1]: Invalid value: \"a\": claim and expression can't both be set, jwt[0].claimValidationRules[2].message: Invalid value: \"m\": may not be specified when claim is set, jwt[0].claimValidationRules[3].expression: Invalid value: \"claims.a\": must evaluate to bool]",
        ),
        (
            jwt(
                r#""claimMappings":{"username":{"claim":"sub","prefix":""},"extra":[{"key":"a","valueExpression":"claims.a"},{"key":"x.k8s.io/a","valueExpression":"claims.a"},{"key":"example.com/A","valueExpression":""}]}"#,
            ),
            "[jwt[0].claimMappings.extra[0].key: Invalid value: \"a\": must be a domain-prefixed path (such as \"acme.io/foo\"), jwt[0].claimMappings.extra[1].key: Invalid value: \"x.k8s.io/a\": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use, jwt[0].claimMappings.extra[2].key: Invalid value: \"example.com/A\": must be lowercase, jwt[0].claimMappings.extra[2].valueExpression: Required value]",
        ),
        (
            jwt(&format!(r#"{name},"userValidationRules":[{{}},{{"expression":"user.name == ''"}}]"#)),
            "[jwt[0].userValidationRules[0].expression: Required value, jwt[0].userValidationRules[1].expression: Invalid value: \"user.name == ''\": compilation failed: ERROR: <input>:1:5: undefined field 'name'\n | user.name == ''\n | ....^]",
        ),
        (format!("{0},{0}", jwt(name)), "jwt[1].issuer.url: Duplicate value: \"https://i.example\""),
    ];
    for (jwt, expected) in table {
        let text = format!(
            r#"{{"apiVersion":"apiserver.config.k8s.io/v1beta1","kind":"AuthenticationConfiguration","jwt":[{jwt}]}}"#
        );
        let found = Configuration::parse(&text).and_then(|c| c.validate(&["https://own".to_owned()]));
        assert_eq!(found.unwrap_err().to_string(), expected, "{jwt}");
    }
}

#[test]
fn flags_become_a_configuration() {
    let flags = |change: fn(&mut Flags)| {
        let mut flags = Flags {
            issuer_url: "https://i".into(),
            client_id: "me".into(),
            username_claim: "sub".into(),
            signing_algorithms: vec!["RS256".into()],
            ..Flags::default()
        };
        change(&mut flags);
        Configuration::of_flags(&flags)
    };
    let prefix = |change| flags(change).unwrap().file.jwt[0].claim_mappings.username.prefix.clone().unwrap();
    assert_eq!(prefix(|_| {}), "https://i#");
    assert_eq!(prefix(|flags| flags.username_prefix = "-".into()), "");
    assert_eq!(prefix(|flags| flags.username_claim = "email".into()), "");
    let refused = |change| flags(change).unwrap_err().to_string();
    assert_eq!(
        refused(|flags| flags.client_id.clear()),
        "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"
    );
    assert_eq!(
        refused(|flags| flags.signing_algorithms = vec!["HS256".into()]),
        "oidc: unsupported signing alg: \"HS256\""
    );
}

#[test]
fn the_anonymous_go_where_the_file_says() {
    let parse = |anonymous: &str| {
        let text = format!(
            r#"{{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AuthenticationConfiguration","anonymous":{anonymous}}}"#
        );
        Configuration::parse(&text).unwrap()
    };
    let healthy = parse(r#"{"enabled":true,"conditions":[{"path":"/livez"},{"path":"/readyz"}]}"#);
    let allowed = healthy.anonymous(None).unwrap();
    assert!(allowed.allows("/livez") && !allowed.allows("/livez/x") && !allowed.allows("/api"));
    assert_eq!(healthy.anonymous(Some(true)), Err(AnonymousError));
    assert_eq!(parse(r#"{"enabled":false}"#).anonymous(None), Ok(Anonymous::Off));
    assert_eq!(Configuration::default().anonymous(Some(false)), Ok(Anonymous::Off));
    let wrong = parse(r#"{"enabled":false,"conditions":[{"path":"/x"}]}"#);
    assert!(
        wrong
            .validate(&[])
            .unwrap_err()
            .to_string()
            .ends_with("enabled should be set to true when conditions are defined")
    );
}
