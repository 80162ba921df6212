//! What comes before authentication: the messages of PLAIN and SCRAM, the first message of OAUTHBEARER and its token; and
//! the keys of whoever makes tokens.

use std::sync::LazyLock;
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use security::oauth::{BearerMessage, KEYS_MAX, KeySet, SET_BYTES_MAX, TokenRules, Verified};
use security::plain;
use security::scram::{ClientFinal, ClientFirst};

use super::Target;
use crate::{feedback, memory};

/// JSON takes more memory than its bytes: a list of numbers is one of values.
const BYTES_FOR_EACH: usize = 64;
/// The moment at which tokens are looked at, in seconds.
const NOW: u64 = 1_800_000_000;
const HEADER: &str = r#"{"alg":"EdDSA","kid":"a"}"#;
const CLAIMS: &str = r#"{"sub":"alice","aud":["kafka"],"iss":"https://issuer","iat":1799999990,"nbf":1799999990.5,"exp":1800000600,"scope":"a b"}"#;

/// The messages of PLAIN and SCRAM.
pub const SASL: Target = Target {
    name: "sasl",
    about: "the message of PLAIN, the first and the last of SCRAM; what is read says what it was",
    run: sasl,
    seeds: || {
        let seeds: [&[u8]; 6] = [
            b"\0alice\0secret",
            b"alice\0alice\0secret",
            b"n,,n=alice,r=fyko+d2lbbFgONRv9qkxdawL",
            b"y,a=al=2Cice,n=al=2Cice,r=fyko,tokenauth=true",
            b"c=biws,r=fyko3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            b"c=eSws,r=fyko,x=1,p=AAAA",
        ];
        seeds.iter().map(|seed| seed.to_vec()).collect()
    },
    words: &[
        b"\0",
        b"n,",
        b"y,",
        b"p=tls-unique,",
        b"a=",
        b"n=",
        b"r=",
        b"m=",
        b"=2C",
        b"=3D",
        b"c=biws",
        b",p=",
        b",",
    ],
};

/// First messages of clients.
pub const BEARER: Target = Target {
    name: "bearer-message",
    about: "the first message of OAUTHBEARER; what is read says what it was",
    run: bearer,
    seeds: || {
        let seeds: [&[u8]; 3] = [
            b"n,,\x01auth=Bearer a.b.c\x01\x01",
            b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc==\x01\x01",
            b"n,a==2C,\x01auth=Bearer a\x01traceId=1 2\x01\x01",
        ];
        seeds.iter().map(|seed| seed.to_vec()).collect()
    },
    words: &[
        b"n,",
        b"a=",
        b"\x01",
        b"auth=Bearer ",
        b"=2C",
        b"=3D",
        b"x=1\x01",
        b"\x01\x01",
        b"y,",
        b"p=",
    ],
};

/// Tokens, their headers and their claims.
pub const TOKEN: Target = Target {
    name: "token",
    about: "a JWT: none but the one that was signed is good, and of those that are signed none without what it must have",
    run: token,
    seeds: || vec![GOOD.clone().into_bytes(), CLAIMS.into(), HEADER.into()],
    words: &[
        b".",
        b"\"alg\":\"none\"",
        b"\"alg\":\"HS256\"",
        b"\"alg\":\"EdDSA\"",
        b"\"kid\":\"a\"",
        b"\"crit\":[]",
        b"\"exp\":",
        b"\"nbf\":",
        b"\"iat\":",
        b"\"sub\":\"alice\"",
        b"\"aud\":\"kafka\"",
        b"null",
        b"-1",
        b"1e999",
        b"1800000000",
        b"\"1800000000\"",
        b"[",
        b"{}",
        b"\\u0000",
        b"\\ud800",
    ],
};

/// Sets of keys.
pub const KEYS: Target = Target {
    name: "jwks",
    about: "a JSON Web Key Set: it has a key, and no more than are allowed",
    run: keys,
    seeds: || {
        let rsa = format!(
            r#"{{"keys":[{{"kty":"RSA","n":"{}","e":"AQAB","alg":"RS256"}}]}}"#,
            "_".repeat(342)
        );
        let ec = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","use":"sig","key_ops":["verify"]}]}"#;
        vec![SET.clone().into_bytes(), rsa.into_bytes(), ec.into()]
    },
    words: &[
        b"{\"keys\":[",
        b"]}",
        b"\"kty\":\"RSA\"",
        b"\"kty\":\"oct\"",
        b"\"alg\":\"HS256\"",
        b"\"use\":\"enc\"",
        b"\"crv\":\"P-384\"",
        b"\"crv\":\"Ed25519\"",
        b"\"kid\":\"\"",
        b",",
        b"{}",
        b"AAAA",
    ],
};

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes are a seed"));
static SET: LazyLock<String> = LazyLock::new(|| {
    let x = URL_SAFE_NO_PAD.encode_to_string(KEY.public_key());
    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{x}"}}]}}"#)
});
static PARSED: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::parse(SET.as_bytes()).expect("a set of one key"));
static GOOD: LazyLock<String> = LazyLock::new(|| signed(HEADER.as_bytes(), CLAIMS.as_bytes()));
static RULES: LazyLock<TokenRules> = LazyLock::new(|| TokenRules {
    audiences: Some(vec!["kafka".to_owned()]),
    issuer: Some("https://issuer".to_owned()),
    subject_claim: "sub".to_owned(),
    scope_claim: "scope".to_owned(),
    scopes: vec!["a".to_owned()],
    skew: Duration::from_secs(30),
    reserved: vec!["admin".to_owned()],
});

fn signed(header: &[u8], claims: &[u8]) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode_to_string(part));
    let message = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode_to_string(KEY.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn sasl(input: &[u8]) {
    let read = memory::within(input.len(), 4, || plain::parse(input));
    feedback::note_result("plain", &read);
    if let Ok(read) = read {
        let (user, password) = (read.user.as_bytes(), read.password.expose());
        assert!(!user.is_empty() && !password.is_empty());
        let said = |by: &[u8]| [by, user, password].join(&0) == input;
        assert!(said(b"") || said(user), "nobody acts as another");
    }
    let read = memory::within(input.len(), 4, || ClientFirst::parse(input));
    feedback::note_result("scram-first", &read);
    if let Ok(read) = read {
        assert_eq!([read.gs2_header, read.bare].concat().as_bytes(), input);
        assert!(!read.user.is_empty() && !read.nonce.contains(','));
    }
    let read = memory::within(input.len(), 4, || ClientFinal::parse(input));
    feedback::note_result("scram-final", &read);
    if let Ok(read) = read {
        assert!(input.starts_with(format!("{},p=", read.without_proof).as_bytes()));
        assert!(read.without_proof.contains(&read.nonce));
    }
}

fn bearer(input: &[u8]) {
    let read = memory::within(input.len(), 4, || BearerMessage::parse(input));
    feedback::note_result("bearer", &read);
    let Ok(read) = read else {
        return;
    };
    let own = match read.authorization_id.as_str() {
        "" => String::new(),
        name => format!("a={name}"),
    };
    let token = String::from_utf8_lossy(read.token.expose()).into_owned();
    let more = read.extensions.iter();
    let more: String = more
        .map(|(name, value)| format!("{name}={value}\u{1}"))
        .collect();
    let again = format!("n,{own},\u{1}auth=Bearer {token}\u{1}{more}\u{1}");
    assert_eq!(BearerMessage::parse(again.as_bytes()), Ok(read));
}

fn verdict(token: &[u8]) -> Option<Verified> {
    let now = Duration::from_secs(NOW);
    let verdict = memory::within(token.len(), BYTES_FOR_EACH, || {
        RULES.verify(&PARSED, token, now)
    });
    feedback::note_result("token", &verdict);
    verdict.ok()
}

fn token(input: &[u8]) {
    LazyLock::force(&PARSED);
    LazyLock::force(&RULES);
    let found = verdict(input);
    assert!(
        found.is_none() || input == GOOD.as_bytes(),
        "a token that nobody has signed is good"
    );
    // The door is open: what does a token of the issuer do?
    if let Some(found) = verdict(signed(HEADER.as_bytes(), input).as_bytes()) {
        let name = found.principal.name();
        assert!(!name.is_empty() && name != "admin" && !name.chars().any(char::is_control));
        assert!(!found.holds.is_zero());
        let text = String::from_utf8_lossy(input);
        for needed in ["exp", "iat", "kafka", "issuer"] {
            // A name may be escaped.
            assert!(
                text.contains(needed) || text.contains("\\u"),
                "{needed} is missing in {text}"
            );
        }
    }
    verdict(signed(input, CLAIMS.as_bytes()).as_bytes());
}

fn keys(input: &[u8]) {
    let limit = input.len().min(SET_BYTES_MAX);
    let read = memory::within(limit, BYTES_FOR_EACH, || KeySet::parse(input));
    feedback::note_result("jwks", &read);
    if let Ok(read) = read {
        assert!((1..=KEYS_MAX).contains(&read.len()) && !read.is_empty());
    }
}
