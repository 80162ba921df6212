//! Paths and queries: decoded, and bounded.

use super::call::Refused;

/// Parts of a path.
const PARTS_MAX: usize = 6;
/// Parameters of a query.
const PARAMETERS_MAX: usize = 24;

/// The parts of a path after its first, decoded; none if it is none of ours.
pub(super) fn parts(path: &str) -> Option<Vec<String>> {
    let parts = path.split('/').skip(1);
    let decode = |part: &str| {
        let decoded = percent_encoding::percent_decode_str(part).decode_utf8();
        decoded.ok().map(std::borrow::Cow::into_owned)
    };
    let parts: Option<Vec<String>> = parts.take(PARTS_MAX + 1).map(decode).collect();
    parts.filter(|parts| parts.len() <= PARTS_MAX)
}

/// The parameters of a query.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
        Self(pairs.take(PARAMETERS_MAX).collect())
    }

    /// A parameter; none if it is not given or empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        let found = pairs.find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// A number.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Refused> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let parsed = text.parse();
        parsed
            .map(Some)
            .map_err(|_| Refused::bad(format!("{name} is no number: {text}")))
    }

    /// A number between bounds, which it is brought into.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn bounded(
        &self,
        name: &str,
        default: usize,
        least: usize,
        most: usize,
    ) -> Result<usize, Refused> {
        let number = self.number(name)?;
        let number = number.map_or(default, |number| usize::try_from(number).unwrap_or(0));
        Ok(number.clamp(least, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cut_before_they_are_decoded() {
        let of = |path: &str| parts(path).map(|parts| parts.join("|"));
        assert_eq!(
            of("/api/v1/groups/a%2Fb%20c").as_deref(),
            Some("api|v1|groups|a/b c")
        );
        assert_eq!(of("/api/v1/../x").as_deref(), Some("api|v1|..|x"));
        assert_eq!(of("/api/%ff"), None);
        assert_eq!(of("/a/b/c/d/e/f/g"), None);
    }

    #[test]
    fn parameters_are_decoded_and_bounded() {
        let query = Query::parse("a=1&b=x%26y+z&c=&n=-5&big=99999999999999999999");
        assert_eq!((query.get("b"), query.get("c")), (Some("x&y z"), None));
        assert_eq!(query.number("n"), Ok(Some(-5)));
        assert!(query.number("big").is_err() && query.number("b").is_err());
        assert_eq!(query.bounded("a", 9, 5, 10), Ok(5));
        assert_eq!(query.bounded("n", 9, 5, 10), Ok(5));
        assert_eq!(query.bounded("missing", 9, 5, 10), Ok(9));
        let many = (0..100).map(|n| format!("k{n}=v&")).collect::<String>();
        assert_eq!(Query::parse(&many).0.len(), PARAMETERS_MAX);
    }
}
