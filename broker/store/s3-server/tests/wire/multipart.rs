//! Multipart uploads.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use s3_server::{Options, Server};

use crate::support::*;

fn small_parts() -> Server {
    start_with(Options {
        min_part_bytes: 4,
        ..Options::default()
    })
}

async fn open(client: &Client, key: &str) -> String {
    let opened = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .send()
        .await
        .unwrap();
    opened.upload_id.unwrap()
}

async fn upload(client: &Client, key: &str, id: &str, bodies: &[&str]) -> CompletedMultipartUpload {
    let mut named = CompletedMultipartUpload::builder();
    for (number, body) in (1..).zip(bodies) {
        let part = client
            .upload_part()
            .bucket(BUCKET)
            .key(key)
            .upload_id(id)
            .part_number(number);
        let part = part
            .body(ByteStream::from(body.as_bytes().to_vec()))
            .send()
            .await
            .unwrap();
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(part.e_tag)
            .set_checksum_crc32(part.checksum_crc32)
            .build();
        named = named.parts(part);
    }
    named.build()
}

#[tokio::test]
async fn parts_become_one_object_in_order() {
    let server = small_parts();
    let client = client(&server);
    let id = open(&client, "k").await;
    let named = upload(&client, "k", &id, &["first", "second", "end"]).await;
    assert_eq!(server.objects().uploads(""), ["k"]);
    let complete = client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key("k")
        .upload_id(&id);
    let done = complete
        .clone()
        .multipart_upload(named.clone())
        .send()
        .await
        .unwrap();
    assert!(done.e_tag().unwrap().ends_with("-3\""));
    assert_eq!(get(&client, "k").await, b"firstsecondend");
    assert_eq!(server.objects().uploads(""), [""; 0]);
    let again = complete.multipart_upload(named).send().await;
    assert_eq!(refusal(again), (404, "NoSuchUpload".to_owned()));
}

#[tokio::test]
async fn a_condition_on_the_end_of_an_upload_is_kept() {
    let server = small_parts();
    let client = client(&server);
    let id = open(&client, "k").await;
    let named = upload(&client, "k", &id, &["first", "second"]).await;
    put(&client, "k", b"was here before").send().await.unwrap();
    let complete = client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key("k")
        .upload_id(&id);
    let complete = complete.multipart_upload(named);
    let refused = complete.clone().if_none_match("*").send().await;
    assert_eq!(refusal(refused), (412, "PreconditionFailed".to_owned()));
    assert_eq!(get(&client, "k").await, b"was here before");
    client
        .delete_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    complete.if_none_match("*").send().await.unwrap();
    assert_eq!(get(&client, "k").await, b"firstsecond");
}

#[tokio::test]
async fn parts_that_do_not_fit_are_refused() {
    let server = small_parts();
    let client = client(&server);
    let id = open(&client, "k").await;
    let named = upload(&client, "k", &id, &["abc", "second"]).await;
    let complete = |named: CompletedMultipartUpload| {
        let complete = client
            .complete_multipart_upload()
            .bucket(BUCKET)
            .key("k")
            .upload_id(&id);
        complete.multipart_upload(named).send()
    };
    let refused = complete(named.clone()).await;
    assert_eq!(refusal(refused), (400, "EntityTooSmall".to_owned()));
    let [one, two] = named.parts() else { panic!() };
    let swapped = CompletedMultipartUpload::builder()
        .parts(two.clone())
        .parts(one.clone());
    let refused = complete(swapped.build()).await;
    assert_eq!(refusal(refused), (400, "InvalidPartOrder".to_owned()));
    let other = CompletedPart::builder()
        .part_number(2)
        .e_tag("\"other\"")
        .build();
    let refused = complete(CompletedMultipartUpload::builder().parts(other).build()).await;
    assert_eq!(refusal(refused), (400, "InvalidPart".to_owned()));
    let only = CompletedMultipartUpload::builder()
        .parts(one.clone())
        .build();
    complete(only).await.unwrap();
    assert_eq!(get(&client, "k").await, b"abc");
}

#[tokio::test]
async fn open_uploads_and_their_parts_are_listed_and_aborted() {
    let server = small_parts();
    let client = client(&server);
    let (a, b) = (open(&client, "a").await, open(&client, "b").await);
    upload(&client, "a", &a, &["one1", "two2", "three"]).await;
    let list = || client.list_multipart_uploads().bucket(BUCKET);
    let page = list().max_uploads(1).send().await.unwrap();
    assert_eq!(
        (page.uploads()[0].key(), page.is_truncated()),
        (Some("a"), Some(true))
    );
    let next = list().set_key_marker(page.next_key_marker);
    let next = next
        .set_upload_id_marker(page.next_upload_id_marker)
        .send()
        .await
        .unwrap();
    assert_eq!(next.uploads()[0].upload_id(), Some(b.as_str()));
    let parts = || client.list_parts().bucket(BUCKET).key("a").upload_id(&a);
    let page = parts().max_parts(2).send().await.unwrap();
    assert_eq!((page.parts().len(), page.is_truncated()), (2, Some(true)));
    let rest = parts()
        .set_part_number_marker(page.next_part_number_marker)
        .send()
        .await
        .unwrap();
    assert_eq!((rest.parts().len(), rest.parts()[0].size()), (1, Some(5)));
    let abort = || {
        client
            .abort_multipart_upload()
            .bucket(BUCKET)
            .key("a")
            .upload_id(&a)
    };
    abort().send().await.unwrap();
    assert_eq!(
        refusal(abort().send().await),
        (404, "NoSuchUpload".to_owned())
    );
    assert_eq!(server.objects().uploads(""), ["b"]);
}
