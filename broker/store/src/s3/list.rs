//! ListObjectsV2: one page, whatever the store's own pages are.
//!
//! Invariants: keys of a page ascend and are greater than `start_after`, else the page is refused,
//! so that a listing that follows `next_start_after` ends; names that are no [`ObjectKey`] are left
//! out without ending the listing.

use std::sync::Arc;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, Object};

use super::Shared;
use super::failure::{Failure, send};
use super::get::modified_ms;
use super::verdict::{Asked, list_error};
use crate::error::ListError;
use crate::key::ObjectKey;
use crate::object::{ETag, ListPage, ListRequest, ObjectMeta};

/// Pages of the store without any name that are passed over for one page of ours.
const EMPTY_PAGES_MAX: usize = 16;

/// Lists one page.
pub(super) async fn list(
    shared: &Arc<Shared>,
    request: ListRequest,
) -> Result<ListPage, ListError> {
    let mut token = None;
    for _ in 0..EMPTY_PAGES_MAX {
        let answer = send_list(shared, &request, token.take())
            .await
            .map_err(|failure| {
                let asked = Asked {
                    operation: "ListObjectsV2",
                    permission: "s3:ListBucket",
                    bucket: &shared.main.name,
                };
                list_error(request.prefix.clone(), failure, asked)
            })?;
        token = answer.next_continuation_token.clone();
        let more = answer.is_truncated.unwrap_or(false);
        if answer.contents().is_empty() && more && token.is_some() {
            continue;
        }
        return page(&request, answer).map_err(|reason| ListError::Unavailable {
            prefix: request.prefix.clone(),
            reason,
        });
    }
    Err(ListError::Unavailable {
        prefix: request.prefix,
        reason: format!("{EMPTY_PAGES_MAX} pages without a name"),
    })
}

async fn send_list(
    shared: &Shared,
    request: &ListRequest,
    token: Option<String>,
) -> Result<ListObjectsV2Output, Failure> {
    let after = request
        .start_after
        .as_deref()
        .filter(|after| !after.is_empty());
    let limit = i32::try_from(request.limit_clamped()).unwrap_or(i32::MAX);
    let request = shared
        .main
        .client
        .list_objects_v2()
        .bucket(&shared.main.name)
        .prefix(&request.prefix)
        // XML cannot carry every character of a key.
        .encoding_type(EncodingType::Url)
        .max_keys(limit)
        .set_start_after(after.map(str::to_owned))
        .set_continuation_token(token);
    shared.counters.lists.increment();
    send(shared.limit(0), request.send()).await
}

fn page(request: &ListRequest, answer: ListObjectsV2Output) -> Result<ListPage, String> {
    let encoded = answer.encoding_type == Some(EncodingType::Url);
    let truncated = answer.is_truncated.unwrap_or(false);
    let limit = request.limit_clamped();
    let contents = answer.contents.unwrap_or_default();
    let more = truncated || contents.len() > limit;
    let mut objects = Vec::with_capacity(contents.len().min(limit));
    let mut last = request.start_after.clone().unwrap_or_default();
    let mut seen = 0;
    for object in contents.into_iter().take(limit) {
        let Some(name) = object.key.as_deref() else {
            return Err("an entry without a key".to_owned());
        };
        let name = match encoded {
            true => decode(name).ok_or_else(|| format!("{name:?} is not URL-encoded UTF-8"))?,
            false => name.to_owned(),
        };
        if !name.starts_with(&request.prefix) {
            return Err(format!("{name:?} is not under the prefix"));
        }
        if name <= last {
            return Err(format!(
                "{name:?} comes after {last:?}: not in order of bytes"
            ));
        }
        objects.extend(meta(&name, &object));
        last = name;
        seen += 1;
    }
    if more && seen == 0 {
        return Err("a page that ends without a name but is not the last".to_owned());
    }
    Ok(ListPage {
        objects,
        next_start_after: more.then_some(last),
    })
}

/// What is told of an object; `None` for names that are no keys of ours.
fn meta(name: &str, object: &Object) -> Option<ObjectMeta> {
    Some(ObjectMeta {
        key: ObjectKey::new(name).ok()?,
        len: u64::try_from(object.size?).ok()?,
        etag: ETag::new(object.e_tag.as_deref()?),
        modified_ms: object
            .last_modified
            .map_or(0, |time| modified_ms(time.secs())),
    })
}

/// Undoes the encoding of `encoding-type=url`: `%41` and, for a space, `+`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(names: &[&str], truncated: bool) -> ListObjectsV2Output {
        let object = |name: &&str| Object::builder().key(*name).size(1).e_tag("\"e\"").build();
        ListObjectsV2Output::builder()
            .set_contents(Some(names.iter().map(object).collect()))
            .is_truncated(truncated)
            .encoding_type(EncodingType::Url)
            .build()
    }

    #[test]
    fn names_are_decoded() {
        assert_eq!(decode("a/b+c%2Bd%C3%A4%2f").unwrap(), "a/b c+d\u{e4}/");
        for broken in ["%", "%4", "%4g", "%ff"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn names_that_are_no_keys_are_left_out_but_count_for_paging() {
        let page = page(&ListRequest::new(""), answer(&["a/b", "top", "zz/"], true)).unwrap();
        assert_eq!(page.objects.len(), 1);
        assert_eq!(page.next_start_after.as_deref(), Some("zz/"));
        let last = super::page(&ListRequest::new(""), answer(&["top"], false)).unwrap();
        assert_eq!((last.objects.len(), last.next_start_after), (0, None));
    }

    #[test]
    fn a_listing_that_goes_back_is_refused() {
        let request = ListRequest::new("a/").start_after("a/m");
        for names in [
            &["a/m"][..],
            &["a/b"],
            &["a/x", "a/x"],
            &["a/y", "a/x"],
            &["b/x"],
            &[],
        ] {
            assert!(page(&request, answer(names, true)).is_err(), "{names:?}");
        }
        assert!(page(&request, answer(&["a/n", "a/x"], true)).is_ok());
    }

    #[test]
    fn a_page_is_never_longer_than_asked() {
        let request = ListRequest::new("a/").limit(2);
        let page = page(&request, answer(&["a/1", "a/2", "a/3"], false)).unwrap();
        assert_eq!(page.objects.len(), 2);
        assert_eq!(page.next_start_after.as_deref(), Some("a/2"));
    }
}
