//! The subject of a certificate as RFC 2253 writes it, which is what Kafka names a client after
//! (`X500Principal.getName()`).

use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate};

/// Names of attributes in the order of RFC 2253, section 2.3; others are written as numbers.
const NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];
/// Characters that are escaped wherever they are.
const SPECIAL: &str = ",+\"\\<>;";

/// The subject; none of what is no certificate.
pub(super) fn of(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    // The last part of the encoding comes first.
    let parts: Vec<_> = parsed.subject().iter_rdn().collect();
    let parts = parts.into_iter().rev().map(|part| {
        let attributes: Option<Vec<String>> = part.iter().map(attribute).collect();
        attributes.map(|attributes| attributes.join("+"))
    });
    let parts: Option<Vec<String>> = parts.collect();
    parts.map(|parts| parts.join(","))
}

fn attribute(of: &AttributeTypeAndValue<'_>) -> Option<String> {
    let number = of.attr_type().to_id_string();
    let name = NAMES.iter().find(|(known, _)| *known == number);
    match (name, of.as_str()) {
        (Some((_, name)), Ok(value)) => Some(format!("{name}={}", escaped(value))),
        // Kafka writes the encoding in hexadecimal digits; its tag and length come before it.
        _ => {
            let value = of.attr_value();
            let length = u8::try_from(value.data.len()).ok()?;
            let tag = u8::try_from(value.header.tag().0).ok()?;
            let bytes = [tag, length].into_iter().chain(value.data.iter().copied());
            let digits: String = bytes.map(|byte| format!("{byte:02x}")).collect();
            Some(format!("{number}=#{digits}"))
        }
    }
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        let at_edge = at == 0 && (char == ' ' || char == '#') || at == last && char == ' ';
        if SPECIAL.contains(char) || at_edge {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn subject(parts: &[(DnType, &str)]) -> String {
        let mut name = DistinguishedName::new();
        for (kind, value) in parts {
            name.push(kind.clone(), *value);
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        let key = KeyPair::generate().unwrap();
        of(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn the_most_specific_part_comes_first() {
        let parts = [
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Example, Inc."),
            (DnType::OrganizationalUnitName, "data"),
            (DnType::CommonName, "alice"),
        ];
        assert_eq!(subject(&parts), "CN=alice,OU=data,O=Example\\, Inc.,C=DE");
    }

    #[test]
    fn what_could_be_taken_for_another_part_is_escaped() {
        let of_name = |name: &str| subject(&[(DnType::CommonName, name)]);
        assert_eq!(of_name("a,CN=admin"), "CN=a\\,CN=admin");
        assert_eq!(of_name(" #\"+x; "), "CN=\\ #\\\"\\+x\\;\\ ");
        assert_eq!(of_name("#x"), "CN=\\#x");
    }

    #[test]
    fn an_attribute_without_a_name_is_told_by_its_number() {
        let serial = DnType::CustomDnType(vec![2, 5, 4, 5]);
        assert_eq!(subject(&[(serial, "7")]), "2.5.4.5=#0c0137");
        assert_eq!(of(b"no certificate"), None);
    }
}
