use super::*;
use crate::exchange::{Exchange, Failure, Mechanism, Step};
use crate::principal::Principal;
use crate::secret::Secret;

const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

fn salt() -> Vec<u8> {
    base64_simd::STANDARD.decode_to_vec(SALT).unwrap()
}

fn verifier(hash: ScramHash) -> Verifier {
    Verifier::of_password(hash, b"pencil", &salt(), 4_096).unwrap()
}

/// An exchange up to the server's first message.
fn challenged(hash: ScramHash, first: &str) -> (Exchange, String) {
    let mut exchange = Exchange::new(Mechanism::Scram(hash));
    let Ok(Step::Verifier(user, asked)) = exchange.message(first.as_bytes()) else {
        panic!("a first message asks for a verifier");
    };
    assert_eq!((user.as_str(), asked), ("user", hash));
    let step = exchange
        .with_verifier(verifier(hash), SERVER_NONCE)
        .unwrap();
    let Step::Reply(reply) = step else {
        panic!("a verifier is answered with a challenge");
    };
    (exchange, String::from_utf8(reply).unwrap())
}

fn first() -> String {
    format!("n,,n=user,r={CLIENT_NONCE}")
}

fn last(nonce: &str, binding: &str, proof: &str) -> String {
    format!("c={binding},r={nonce},p={proof}")
}

fn nonces() -> String {
    format!("{CLIENT_NONCE}{SERVER_NONCE}")
}

/// SHA-256 from RFC 7677; SHA-512 of the same exchange by Python's hashlib.
const VECTORS: [(ScramHash, &str, &str); 2] = [
    (
        ScramHash::Sha256,
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
    (
        ScramHash::Sha512,
        "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
        "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
    ),
];

#[test]
fn the_vectors_of_the_standard_pass() {
    for (hash, proof, signature) in VECTORS {
        let (mut exchange, challenge) = challenged(hash, &first());
        assert_eq!(challenge, format!("r={},s={SALT},i=4096", nonces()));
        let message = last(&nonces(), "biws", proof);
        let Ok(Step::Done(principal, reply)) = exchange.message(message.as_bytes()) else {
            panic!("{hash:?}: the right proof is accepted");
        };
        assert_eq!(principal, Principal::user("user"));
        assert_eq!(reply, format!("v={signature}").into_bytes());
        assert!(matches!(exchange.message(b"x"), Err(Failure::Over)));
    }
}

#[test]
fn a_proof_must_be_right_whole_and_for_this_exchange() {
    let (hash, proof, _) = VECTORS[0];
    let wrong_proof = format!("e{}", &proof[1..]);
    let longer = base64_simd::STANDARD.decode_to_vec(proof).unwrap();
    let longer = base64_simd::STANDARD.encode_to_string([longer, vec![0]].concat());
    let cases = [
        last(&nonces(), "biws", &wrong_proof),
        last(&nonces(), "biws", ""),
        last(&nonces(), "biws", &longer),
        // Only the server's part, only the client's, one more at either end (CVE-2024-56128).
        last(SERVER_NONCE, "biws", proof),
        last(CLIENT_NONCE, "biws", proof),
        last(&format!("x{}", nonces()), "biws", proof),
        last(&format!("{}x", nonces()), "biws", proof),
        // Another channel binding: "y,,".
        last(&nonces(), "eSws", proof),
        last(&nonces(), "", proof),
    ];
    for message in cases {
        let (mut exchange, _) = challenged(hash, &first());
        let outcome = exchange.message(message.as_bytes());
        assert!(
            matches!(outcome, Err(Failure::Credentials)),
            "{message}: {outcome:?}"
        );
        assert!(matches!(exchange.message(b"x"), Err(Failure::Over)));
    }
}

#[test]
fn nobody_acts_as_another() {
    let hash = ScramHash::Sha256;
    let begin = |first: &str| {
        let mut exchange = Exchange::new(Mechanism::Scram(hash));
        exchange.message(first.as_bytes()).unwrap();
        exchange.with_verifier(verifier(hash), SERVER_NONCE)
    };
    assert!(matches!(
        begin("n,a=admin,n=user,r=x"),
        Err(Failure::Impersonation)
    ));
    assert!(begin("n,a=user,n=user,r=x").is_ok());
}

#[test]
fn what_is_no_first_message_is_refused() {
    for bad in [
        "",
        "n",
        "n,,",
        "n,,n=user",
        "n,,r=x,n=user",
        "n,,n=,r=x",
        "n,,n=user,r=",
        "x,,n=user,r=x",
        "n,b=a,n=user,r=x",
        "n,,n=us=er,r=x",
        "n,,n=us=2,r=x",
        "p=tls-unique,,n=user,r=x",
        "n,,m=ext,n=user,r=x",
        "n,,n=user,r=a b",
        "n,,n=u\0,r=x",
    ] {
        assert!(ClientFirst::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(ClientFirst::parse(b"n,,n=\xff,r=x").is_err());
    let escaped = ClientFirst::parse(b"n,,n=a=2Cb=3Dc,r=x,tokenauth=true").unwrap();
    assert_eq!(escaped.user, "a,b=c");
}

#[test]
fn nobody_has_the_same_salt_each_time_and_no_password() {
    let (secret, other) = (Secret::new("cluster"), Secret::new("another"));
    for hash in ScramHash::ALL {
        let nobody = Verifier::of_nobody(hash, &secret, "mallory");
        assert_eq!(nobody, Verifier::of_nobody(hash, &secret, "mallory"));
        assert_ne!(
            nobody.salt(),
            Verifier::of_nobody(hash, &secret, "mallorz").salt()
        );
        assert_ne!(
            nobody.salt(),
            Verifier::of_nobody(hash, &other, "mallory").salt()
        );
        assert!(!nobody.is_password(b"") && !nobody.is_password(b"pencil"));
    }
}

#[test]
fn a_password_can_be_checked_and_not_be_seen() {
    let verifier = verifier(ScramHash::Sha512);
    assert!(verifier.is_password(b"pencil") && !verifier.is_password(b"Pencil"));
    let shown = format!("{verifier:?}");
    assert!(
        shown.contains("Secret(64 bytes)") && !shown.contains("pencil"),
        "{shown}"
    );
}

#[test]
fn iterations_and_salts_are_bounded() {
    let hash = ScramHash::Sha256;
    let of = |salt: &[u8], rounds| Verifier::of_salted(hash, &[0; 32], salt, rounds);
    assert!(of(b"s", 4_096).is_ok() && of(b"s", 16_384).is_ok());
    for rounds in [4_095, 16_385, 0, -1, i64::MAX] {
        assert_eq!(of(b"s", rounds), Err(VerifierError::Iterations(rounds)));
    }
    assert_eq!(of(b"", 4_096), Err(VerifierError::Salt(0)));
    assert_eq!(of(&[0; 1_025], 4_096), Err(VerifierError::Salt(1_025)));
    let short = Verifier::of_salted(hash, &[0; 31], b"s", 4_096);
    assert_eq!(short, Err(VerifierError::Length(31, 32)));
}
