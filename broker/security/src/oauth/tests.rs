use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use serde_json::{Value, json};

use super::jwt::signed;
use super::*;
use crate::exchange::{Exchange, Failure, Mechanism, Step};

/// A moment.
const NOW: u64 = 1_800_000_000;

fn base64(bytes: impl AsRef<[u8]>) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes.as_ref())
}

/// One key of each kind.
struct Signers {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
}

static SIGNERS: LazyLock<Signers> = LazyLock::new(|| {
    let random = SystemRandom::new();
    let ecdsa = |algorithm| {
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap()
    };
    let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    Signers {
        rsa: RsaKeyPair::from_der(include_bytes!("../../testdata/rsa-2048.der")).unwrap(),
        p256: ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        p384: ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
        random,
    }
});

impl Signers {
    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let encoding: &dyn RsaEncoding = match algorithm {
            Algorithm::Rs256 => &signature::RSA_PKCS1_SHA256,
            Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
            Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
            Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
            Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
            Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
            Algorithm::Es256 => {
                let signed = self.p256.sign(&self.random, message).unwrap();
                return signed.as_ref().to_vec();
            }
            Algorithm::Es384 => {
                let signed = self.p384.sign(&self.random, message).unwrap();
                return signed.as_ref().to_vec();
            }
            Algorithm::EdDsa => return self.ed25519.sign(message).as_ref().to_vec(),
        };
        let mut signed = vec![0; self.rsa.public().modulus_len()];
        let done = self.rsa.sign(encoding, &self.random, message, &mut signed);
        done.unwrap();
        signed
    }

    /// The public key for an algorithm, under a name.
    fn jwk(&self, algorithm: Algorithm, name: &str) -> Value {
        let point = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "kid": name, "x": base64(x), "y": base64(y)})
        };
        match algorithm {
            Algorithm::Es256 => point("P-256", self.p256.public_key().as_ref()),
            Algorithm::Es384 => point("P-384", self.p384.public_key().as_ref()),
            Algorithm::EdDsa => json!({"kty": "OKP", "crv": "Ed25519", "kid": name,
                "x": base64(self.ed25519.public_key())}),
            _ => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
                json!({"kty": "RSA", "kid": name, "n": base64(public.n), "e": base64(public.e)})
            }
        }
    }

    fn token(&self, algorithm: Algorithm, header: &Value, claims: &str) -> String {
        let message = format!("{}.{}", base64(header.to_string()), base64(claims));
        let signature = self.sign(algorithm, message.as_bytes());
        format!("{message}.{}", base64(signature))
    }
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn all_keys() -> KeySet {
    set(&[
        SIGNERS.jwk(Algorithm::Rs256, "rsa"),
        SIGNERS.jwk(Algorithm::Es256, "p256"),
        SIGNERS.jwk(Algorithm::Es384, "p384"),
        SIGNERS.jwk(Algorithm::EdDsa, "ed"),
    ])
}

fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "p256",
        Algorithm::Es384 => "p384",
        Algorithm::EdDsa => "ed",
        _ => "rsa",
    }
}

fn rules() -> TokenRules {
    TokenRules {
        audiences: Some(vec!["kafka".to_owned(), "logs".to_owned()]),
        issuer: Some("https://issuer".to_owned()),
        subject_claim: "sub".to_owned(),
        scope_claim: "scope".to_owned(),
        scopes: Vec::new(),
        skew: Duration::from_secs(30),
        reserved: vec!["admin".to_owned()],
    }
}

fn claims() -> Value {
    json!({"sub": "alice", "iss": "https://issuer", "aud": "kafka", "iat": NOW - 10, "exp": NOW + 600})
}

/// The claims with some of them changed; null takes one away.
fn with(changes: &Value) -> String {
    let mut claims = claims();
    for (claim, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
            value => claims[claim] = value.clone(),
        }
    }
    claims.to_string()
}

fn header(algorithm: Algorithm) -> Value {
    json!({"alg": algorithm.name(), "typ": "JWT", "kid": name(algorithm)})
}

fn es256(claims: &str) -> String {
    SIGNERS.token(Algorithm::Es256, &header(Algorithm::Es256), claims)
}

fn verdict_at(rules: &TokenRules, token: &str, now: f64) -> Result<Verified, TokenError> {
    rules.verify(&all_keys(), token.as_bytes(), Duration::from_secs_f64(now))
}

fn verdict(token: &str) -> Result<Verified, TokenError> {
    verdict_at(&rules(), token, NOW as f64)
}

/// The verdict on claims, of which some are changed.
fn of_claims(changes: &Value) -> Result<Verified, TokenError> {
    verdict(&es256(&with(changes)))
}

#[test]
fn a_token_of_each_algorithm_is_good_for_its_subject_until_it_expires() {
    for algorithm in Algorithm::ALL {
        let token = SIGNERS.token(algorithm, &header(algorithm), &claims().to_string());
        let found = verdict(&token).unwrap();
        assert_eq!(found.principal.to_string(), "User:alice");
        assert_eq!(found.holds, Duration::from_secs(600), "{algorithm:?}");
        assert_eq!(Algorithm::of_name(algorithm.name()), Some(algorithm));
    }
}

/// RFC 7515 appendix A.2 and A.3, RFC 7520 section 4.2, RFC 8037 appendix A.4.
#[test]
fn the_signatures_of_the_standards_are_right_and_changed_ones_are_not() {
    let joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let a2 = json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp\
        -Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSH\
        SXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWN\
        moudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"});
    let a2_token = format!(
        "eyJhbGciOiJSUzI1NiJ9.{joe}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YK\
         t_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0\
         GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5\
         AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    let a3 = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let a3_token = format!(
        "eyJhbGciOiJFUzI1NiJ9.{joe}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6\
         NU1Q"
    );
    let bilbo = json!({"kty": "RSA", "kid": "bilbo.baggins@hobbiton.example", "use": "sig", "e": "AQAB",
        "n": "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrK\
        b2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9b\
        TwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5i\
        aiQkqgc5gHdrNP5zw"});
    let bilbo_token = "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.SXTigJlzIGEgZGFuZ2Vyb3V\
        zIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZ\
        WVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4.cu22eBqkYDKgIlTpzD\
        XGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvW\
        Xzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp\
        8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw";
    let ed =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let ed_token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR\
        6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    for (key, token) in [
        (a2, a2_token.as_str()),
        (a3, &a3_token),
        (bilbo, bilbo_token),
        (ed, ed_token),
    ] {
        let keys = set(&[key]);
        let payload = signed(&keys, token.as_bytes()).unwrap();
        assert!(
            payload.starts_with(b"{\"iss\":\"joe\"")
                || payload.starts_with(b"It")
                || payload.starts_with(b"Example")
        );
        let mut changed = token.as_bytes().to_vec();
        let dot = token.rfind('.').unwrap();
        changed[dot + 9] = if changed[dot + 9] == b'A' { b'B' } else { b'A' };
        assert_eq!(signed(&keys, &changed), Err(TokenError::Signature));
        let mut changed = token.as_bytes().to_vec();
        changed[dot - 2] = if changed[dot - 2] == b'A' { b'E' } else { b'A' };
        assert_eq!(signed(&keys, &changed), Err(TokenError::Signature));
    }
}

/// RFC 7515 appendix A.5 and A.1, and CVE-2015-9235: none, and an HMAC whose secret is the public key.
#[test]
fn neither_no_signature_nor_a_secret_that_everybody_knows_will_do() {
    let payload = base64(claims().to_string());
    let header = |algorithm: &str| base64(json!({"alg": algorithm, "kid": "rsa"}).to_string());
    for none in [
        "none", "None", "NONE", "nOnE", "", "RS1", "rs256", "ES256K", "ES512", "HS256 ",
    ] {
        for signature in ["", "AAAA"] {
            let token = format!("{}.{payload}.{signature}", header(none));
            assert_eq!(verdict(&token), Err(TokenError::Algorithm), "{none}");
        }
    }
    // The public keys, in all forms that somebody might take for a secret.
    let components = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(SIGNERS.rsa.public());
    let mut secrets = vec![components.n, SIGNERS.rsa.public().as_ref().to_vec()];
    let points = [
        SIGNERS.p256.public_key().as_ref(),
        SIGNERS.p384.public_key().as_ref(),
        SIGNERS.ed25519.public_key().as_ref(),
    ];
    secrets.extend(points.map(<[u8]>::to_vec));
    for algorithm in Algorithm::ALL {
        let public = SIGNERS.jwk(algorithm, name(algorithm));
        secrets.push(public.to_string().into());
        let member = if algorithm.is_rsa() { "n" } else { "x" };
        secrets.push(public[member].as_str().unwrap().into());
    }
    for (name, algorithm) in [
        ("HS256", ring::hmac::HMAC_SHA256),
        ("HS384", ring::hmac::HMAC_SHA384),
        ("HS512", ring::hmac::HMAC_SHA512),
    ] {
        let message = format!("{}.{payload}", header(name));
        for secret in &secrets {
            let key = ring::hmac::Key::new(algorithm, secret);
            let signature = base64(ring::hmac::sign(&key, message.as_bytes()));
            let token = format!("{message}.{signature}");
            assert_eq!(verdict(&token), Err(TokenError::Algorithm), "{name}");
        }
    }
    for wrong in [
        json!({}),
        json!({"alg": null}),
        json!({"alg": 1}),
        json!({"alg": ["RS256"]}),
    ] {
        let token = SIGNERS.token(Algorithm::Rs256, &wrong, &claims().to_string());
        assert_eq!(verdict(&token), Err(TokenError::Algorithm));
    }
}

#[test]
fn a_key_is_for_the_algorithms_of_its_kind_only() {
    for signs in Algorithm::ALL {
        for says in Algorithm::ALL {
            let token = |kid: &str| {
                let header = json!({"alg": says.name(), "kid": kid});
                SIGNERS.token(signs, &header, &claims().to_string())
            };
            let found = verdict(&token(name(signs)));
            match (signs == says, name(signs) == name(says)) {
                (true, _) => assert!(found.is_ok()),
                (false, true) => {
                    assert_eq!(found, Err(TokenError::Signature), "{signs:?} {says:?}")
                }
                (false, false) => {
                    let none = TokenError::Key(Some(name(signs).to_owned()));
                    assert_eq!(found, Err(none), "{signs:?} {says:?}");
                    assert_eq!(verdict(&token(name(says))), Err(TokenError::Signature));
                }
            }
        }
    }
    // A key that the set has for one algorithm is not taken for another of its kind.
    let mut key = SIGNERS.jwk(Algorithm::Rs256, "rsa");
    key["alg"] = json!("PS256");
    let token = SIGNERS.token(
        Algorithm::Rs256,
        &header(Algorithm::Rs256),
        &claims().to_string(),
    );
    let now = Duration::from_secs(NOW);
    assert!(
        rules()
            .verify(&set(&[key]), token.as_bytes(), now)
            .unwrap_err()
            .is_about_keys()
    );
}

#[test]
fn a_signature_of_somebody_else_is_refused_whatever_the_token_brings() {
    let random = SystemRandom::new();
    let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap();
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let own = json!({"kty": "EC", "crv": "P-256", "kid": "p256", "x": base64(x), "y": base64(y)});
    for header in [
        json!({"alg": "ES256", "kid": "p256"}),
        json!({"alg": "ES256", "kid": "p256", "jwk": own, "jku": "https://evil/keys", "x5u": "https://evil/c"}),
    ] {
        let message = format!(
            "{}.{}",
            base64(header.to_string()),
            base64(claims().to_string())
        );
        let signature = base64(key.sign(&random, message.as_bytes()).unwrap());
        assert_eq!(
            verdict(&format!("{message}.{signature}")),
            Err(TokenError::Signature)
        );
    }
    // CVE-2022-21449: a signature of zeros is none.
    let message = format!(
        "{}.{}",
        base64(header(Algorithm::Es256).to_string()),
        base64(claims().to_string())
    );
    for signature in [vec![0; 64], vec![], vec![0; 63], vec![0xff; 64]] {
        let token = format!("{message}.{}", base64(signature));
        assert_eq!(verdict(&token), Err(TokenError::Signature));
    }
}

#[test]
fn what_is_not_three_parts_of_base64url_and_json_is_refused() {
    let good = es256(&claims().to_string());
    let parts: Vec<&str> = good.split('.').collect();
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        parts[..2].join("."),
        format!("{good}.{}", parts[2]),
        format!("{good}.."),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        good.replacen('.', "=.", 1),
        format!("{}.{}.{}", parts[0], parts[1], "é"),
        format!("{}.{}.{}", base64("[]"), parts[1], parts[2]),
        format!("{}.{}.{}", base64("{"), parts[1], parts[2]),
        format!("{}.{}.{}", base64(b"\xff"), parts[1], parts[2]),
    ] {
        assert_eq!(verdict(&bad), Err(TokenError::Shape), "{bad}");
    }
    for payload in ["", "1", "[]", "\"x\"", "{", "{}x", "null"] {
        assert_eq!(
            verdict(&es256(payload)),
            Err(TokenError::Shape),
            "{payload}"
        );
    }
    let long = with(&json!({"more": "x".repeat(TOKEN_BYTES_MAX)}));
    assert!(matches!(verdict(&es256(&long)), Err(TokenError::Long(_))));
    let deep = format!("{{\"x\":{}1{}}}", "[".repeat(3000), "]".repeat(3000));
    assert_eq!(verdict(&es256(&deep)), Err(TokenError::Shape));
}

#[test]
fn what_is_named_twice_is_refused() {
    let twice = claims().to_string().replacen('{', "{\"sub\":\"root\",", 1);
    assert_eq!(verdict(&es256(&twice)), Err(TokenError::Shape));
    let claims = base64(claims().to_string());
    let header = base64(r#"{"alg":"none","alg":"ES256","kid":"p256"}"#);
    let message = format!("{header}.{claims}");
    let signature = base64(SIGNERS.sign(Algorithm::Es256, message.as_bytes()));
    assert_eq!(
        verdict(&format!("{message}.{signature}")),
        Err(TokenError::Shape)
    );
}

#[test]
fn an_extension_that_must_be_understood_is_refused() {
    for critical in [json!(["b64"]), json!(["exp"]), json!([]), json!("x")] {
        let mut header = header(Algorithm::Es256);
        header["crit"] = critical;
        header["b64"] = json!(false);
        let token = SIGNERS.token(Algorithm::Es256, &header, &claims().to_string());
        assert_eq!(verdict(&token), Err(TokenError::Critical));
    }
}

#[test]
fn a_token_is_of_the_key_that_it_names_or_of_the_only_one() {
    let token = |header: Value| SIGNERS.token(Algorithm::Es256, &header, &claims().to_string());
    let none = TokenError::Key(Some("other".to_owned()));
    assert_eq!(
        verdict(&token(json!({"alg": "ES256", "kid": "other"}))),
        Err(none.clone())
    );
    assert!(none.is_about_keys());
    assert!(
        verdict(&token(json!({"alg": "ES256"}))).is_ok(),
        "there is one for the algorithm"
    );
    let wrong = Err(TokenError::Type("kid".to_owned()));
    assert_eq!(verdict(&token(json!({"alg": "ES256", "kid": 1}))), wrong);
    assert_eq!(
        verdict(&token(json!({"alg": "ES256", "kid": "x".repeat(300)}))),
        wrong
    );
    let two = set(&[
        SIGNERS.jwk(Algorithm::Es256, "a"),
        SIGNERS.jwk(Algorithm::Es256, "b"),
    ]);
    let now = Duration::from_secs(NOW);
    let unnamed = token(json!({"alg": "ES256"}));
    let found = rules().verify(&two, unnamed.as_bytes(), now);
    assert_eq!(found, Err(TokenError::Key(None)), "nobody knows which");
}

#[test]
fn time_is_checked_within_the_skew_and_must_be_told() {
    for claim in ["exp", "iat"] {
        let missing = TokenError::Missing(claim.to_owned());
        assert_eq!(of_claims(&json!({claim: null})), Err(missing));
    }
    for claim in ["exp", "iat", "nbf"] {
        for wrong in [
            json!("1900000000"),
            json!(-1),
            json!(1e300),
            json!(true),
            json!([1_900_000_000]),
            json!({}),
        ] {
            let found = of_claims(&json!({claim: wrong}));
            assert_eq!(
                found,
                Err(TokenError::Type(claim.to_owned())),
                "{claim} {wrong}"
            );
        }
    }
    assert_eq!(
        of_claims(&json!({"exp": NOW - 30})),
        Err(TokenError::Expired)
    );
    assert_eq!(of_claims(&json!({"exp": 0})), Err(TokenError::Expired));
    let holds = |changes: &Value| of_claims(changes).unwrap().holds;
    assert_eq!(
        holds(&json!({"exp": NOW - 20})),
        Duration::from_secs(10),
        "the rest of the skew"
    );
    assert_eq!(holds(&json!({"exp": NOW})), Duration::from_secs(30));
    assert_eq!(
        holds(&json!({"exp": NOW as f64 + 1.5})),
        Duration::from_millis(1500)
    );
    for claim in ["nbf", "iat"] {
        assert!(of_claims(&json!({claim: NOW + 30})).is_ok());
        assert_eq!(of_claims(&json!({claim: NOW + 31})), Err(TokenError::Early));
    }
    let exact = TokenRules {
        skew: Duration::ZERO,
        ..rules()
    };
    let token = es256(&with(&json!({"exp": NOW, "nbf": NOW - 5})));
    assert!(verdict_at(&exact, &token, NOW as f64 - 0.1).is_ok());
    assert_eq!(
        verdict_at(&exact, &token, NOW as f64),
        Err(TokenError::Expired)
    );
    assert_eq!(
        verdict_at(&exact, &token, NOW as f64 - 5.5),
        Err(TokenError::Early)
    );
}

#[test]
fn issuer_and_audience_must_be_the_expected_ones() {
    for wrong in [json!("https://issuer/"), json!(""), json!(null)] {
        assert_eq!(of_claims(&json!({"iss": wrong})), Err(TokenError::Issuer));
    }
    assert_eq!(
        of_claims(&json!({"iss": ["https://issuer"]})),
        Err(TokenError::Type("iss".to_owned()))
    );
    for wrong in [
        json!("others"),
        json!(["a", "b"]),
        json!([]),
        json!(null),
        json!("kafka "),
    ] {
        assert_eq!(
            of_claims(&json!({"aud": wrong})),
            Err(TokenError::Audience),
            "{wrong}"
        );
    }
    for wrong in [json!(["kafka", 1]), json!(1), json!({"kafka": 1})] {
        assert_eq!(
            of_claims(&json!({"aud": wrong})),
            Err(TokenError::Type("aud".to_owned()))
        );
    }
    assert!(of_claims(&json!({"aud": ["x", "logs"]})).is_ok());
    let any = TokenRules {
        audiences: None,
        issuer: None,
        ..rules()
    };
    let token = es256(&with(&json!({"aud": null, "iss": null})));
    assert!(verdict_at(&any, &token, NOW as f64).is_ok());
}

#[test]
fn a_subject_must_be_told_and_can_be_another_claim() {
    assert_eq!(
        of_claims(&json!({"sub": null})),
        Err(TokenError::Missing("sub".to_owned()))
    );
    for wrong in [json!(1), json!(["alice"]), json!({})] {
        assert_eq!(
            of_claims(&json!({"sub": wrong})),
            Err(TokenError::Type("sub".to_owned()))
        );
    }
    for wrong in ["".to_owned(), "a\nb".to_owned(), "x".repeat(1020)] {
        assert_eq!(of_claims(&json!({"sub": wrong})), Err(TokenError::Subject));
    }
    assert_eq!(
        of_claims(&json!({"sub": "admin"})),
        Err(TokenError::Administrator)
    );
    let other = TokenRules {
        subject_claim: "client_id".to_owned(),
        ..rules()
    };
    let token = es256(&with(&json!({"client_id": "svc-1"})));
    assert_eq!(
        verdict_at(&other, &token, NOW as f64)
            .unwrap()
            .principal
            .name(),
        "svc-1"
    );
    assert!(verdict_at(&other, &es256(&with(&json!({}))), NOW as f64).is_err());
}

#[test]
fn all_scopes_that_are_asked_for_must_be_there() {
    let rules = TokenRules {
        scopes: vec!["kafka.read".to_owned(), "kafka.write".to_owned()],
        ..rules()
    };
    let found =
        |scope: Value| verdict_at(&rules, &es256(&with(&json!({"scope": scope}))), NOW as f64);
    assert!(found(json!("a kafka.write kafka.read")).is_ok());
    assert!(found(json!(["kafka.write", "kafka.read"])).is_ok());
    for wrong in [
        json!("kafka.read"),
        json!([]),
        json!(null),
        json!("kafka.readkafka.write"),
    ] {
        let error = found(wrong).unwrap_err();
        let told: Value = serde_json::from_str(&error.challenge()).unwrap();
        assert_eq!(
            told,
            json!({"status": "insufficient_scope", "scope": "kafka.read kafka.write"})
        );
    }
    assert!(matches!(found(json!(7)), Err(TokenError::Type(_))));
}

/// RFC 7517 appendix A.1 (the EC key is for encryption, the RSA key for RS256).
#[test]
fn a_set_gives_the_keys_that_can_be_used() {
    let standard = json!({"keys": [
        {"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "use": "enc", "kid": "1"},
        {"kty": "RSA", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJE\
            CPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaS\
            qzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xB\
            niIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}]});
    let standard = standard.to_string();
    let standard = KeySet::parse(standard.as_bytes()).unwrap();
    assert_eq!(standard.len(), 1);
    assert!(
        standard
            .find(Some("2011-04-29"), Algorithm::Rs256)
            .is_some()
    );
    assert!(
        standard
            .find(Some("2011-04-29"), Algorithm::Rs512)
            .is_none()
    );
    assert!(standard.find(Some("1"), Algorithm::Es256).is_none());
    let good = SIGNERS.jwk(Algorithm::Es256, "good");
    let change = |member: &str, value: Value| {
        let mut key = good.clone();
        key[member] = value;
        key
    };
    let rsa = |member: &str, value: Value| {
        let mut key = SIGNERS.jwk(Algorithm::Rs256, "rsa");
        key[member] = value;
        key
    };
    let unusable = [
        json!({}),
        json!(1),
        json!({"kty": "oct", "k": "AAAA", "alg": "HS256"}),
        change("kty", json!("EC2")),
        change("crv", json!("P-521")),
        change("crv", json!("P-384")),
        change("x", json!("AAAA")),
        change("x", json!("!")),
        change("use", json!("enc")),
        change("key_ops", json!(["sign"])),
        change("alg", json!("RS256")),
        change("alg", json!("ES512")),
        change("kid", json!(1)),
        rsa("n", json!(base64([0xff; 128]))),
        rsa("n", json!(base64([0xff; 1025]))),
        rsa("n", Value::Null),
        rsa("e", json!("")),
        rsa("e", json!("AA")),
    ];
    let mut keys = unusable.to_vec();
    keys.push(good.clone());
    assert_eq!(set(&keys), set(&[good]));
    let parse = |text: String| KeySet::parse(text.as_bytes());
    let none = parse(json!({ "keys": unusable }).to_string());
    assert_eq!(none, Err(KeySetError::Empty(unusable.len())));
    assert_eq!(
        parse("{\"keys\":[]}".to_owned()),
        Err(KeySetError::Empty(0))
    );
    for bad in ["", "{}", "[]", "{\"keys\":1}", "{\"keys\":[],\"keys\":[]}"] {
        assert!(
            matches!(parse(bad.to_owned()), Err(KeySetError::Shape(_))),
            "{bad}"
        );
    }
    let many = vec![json!({}); KEYS_MAX + 1];
    assert_eq!(
        parse(json!({ "keys": many }).to_string()),
        Err(KeySetError::Many(KEYS_MAX + 1))
    );
    assert_eq!(parse(" ".repeat(SET_BYTES_MAX + 1)), Err(KeySetError::Long));
}

fn first(authorization_id: &str, token: &str) -> Vec<u8> {
    format!("n,{authorization_id},\u{1}auth=Bearer {token}\u{1}\u{1}").into_bytes()
}

fn begun(authorization_id: &str, token: &str) -> (Exchange, Result<Step, Failure>) {
    let mut exchange = Exchange::new(Mechanism::OauthBearer);
    let step = exchange.message(&first(authorization_id, token)).unwrap();
    let Step::Token(message) = step else {
        panic!("{step:?}");
    };
    let now = Duration::from_secs(NOW);
    let found = rules().verify(&all_keys(), message.token.expose(), now);
    let step = exchange.with_token(found);
    (exchange, step)
}

#[test]
fn who_is_refused_is_told_so_and_the_exchange_fails_when_it_has_taken_note() {
    let good = es256(&claims().to_string());
    for own in ["", "a=alice"] {
        let (_, step) = begun(own, &good);
        let Ok(Step::Done(principal, reply)) = step else {
            panic!("{step:?}");
        };
        assert_eq!((principal.name(), reply), ("alice", vec![]));
    }
    let (_, step) = begun("a=bob", &good);
    assert_eq!(step.unwrap_err(), Failure::Impersonation);
    let refused = || {
        let (exchange, step) = begun("", &es256(&with(&json!({"exp": 1}))));
        let Ok(Step::Reply(told)) = step else {
            panic!("{step:?}");
        };
        assert_eq!(told, br#"{"status":"invalid_token"}"#);
        exchange
    };
    let told = r#"{"status":"invalid_token"}"#.to_owned();
    let mut exchange = refused();
    assert_eq!(exchange.message(b"\x01").unwrap_err(), Failure::Token(told));
    assert_eq!(exchange.message(b"\x01").unwrap_err(), Failure::Over);
    // Not even a good token helps then.
    for other in [first("", &good), vec![], b"\x01\x01".to_vec()] {
        assert!(matches!(
            refused().message(&other),
            Err(Failure::Malformed(_))
        ));
    }
    let mut unasked = Exchange::new(Mechanism::OauthBearer);
    assert_eq!(
        unasked.with_token(Err(TokenError::Shape)).unwrap_err(),
        Failure::Over
    );
    assert!(matches!(unasked.message(b"\x01"), Err(Failure::Over)));
    let mut early = Exchange::new(Mechanism::OauthBearer);
    assert!(matches!(early.message(b"\x01"), Err(Failure::Malformed(_))));
}

proptest! {
    #[test]
    fn no_change_of_a_good_token_makes_another_good_one(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let good = es256(&claims().to_string());
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let found = rules().verify(&all_keys(), &bytes, Duration::from_secs(NOW));
        prop_assert_eq!(found.is_ok(), bytes == good.as_bytes());
    }
}
