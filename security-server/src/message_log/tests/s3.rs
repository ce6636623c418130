//! Large archives to storage that speaks as much of S3 as they need, over real HTTP: what was interrupted goes on, what is of no use
//! is cleaned up.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicI64;

use host::http::{Limits, Peer, RequestBody, ResponseBody, Transport, full, read_all, serve};
use host::shutdown::Shutdown;
use http::{Request as HttpRequest, Response, StatusCode};

use super::archive::{Setup, archiving};
use super::stamps::{NOW, log_signed};
use super::*;
use crate::message_log::archive::Target;
use crate::message_log::archive::target::Credentials;
use crate::message_log::keeper::Keeper;

const PART: u64 = 4000;

/// The storage.
#[derive(Debug, Default)]
struct Storage {
    objects: Mutex<BTreeMap<String, (Vec<u8>, String)>>,
    uploads: Mutex<BTreeMap<String, Upload>>,
    /// What was asked, without the signature.
    asked: Mutex<Vec<String>>,
    /// Parts that are still taken; then the storage fails.
    takes: AtomicI64,
    refuses_completion: AtomicBool,
    /// The object is made, and the answer is lost.
    loses_completion: AtomicBool,
    /// A clock that goes on by an hour with each part.
    clock: Mutex<Option<Clock>>,
    /// When requests were signed.
    signed_at: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
struct Upload {
    key: String,
    sha256: String,
    parts: BTreeMap<u32, Vec<u8>>,
}

fn answer(status: u16, body: String) -> Response<ResponseBody> {
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(full(body)).unwrap()
}

impl Storage {
    async fn start() -> (Arc<Self>, String) {
        let storage = Arc::new(Self { takes: AtomicI64::new(i64::MAX), ..Self::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = storage.clone();
        let handler = move |request: HttpRequest<RequestBody>, _: Arc<Peer>| {
            let state = state.clone();
            async move { state.answer(request).await }
        };
        tokio::spawn(serve(listener, Transport::Plain, Limits::default(), Shutdown::default(), handler));
        (storage, url)
    }

    async fn answer(&self, request: HttpRequest<RequestBody>) -> Response<ResponseBody> {
        let (head, body) = request.into_parts();
        let body = read_all(body, 10_000_000).await.unwrap();
        let header = |name: &str| head.headers.get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
        assert!(header("authorization").contains("SignedHeaders="));
        let sha256 = hex::encode(DigestAlgorithm::Sha256.digest(&body).value);
        assert_eq!(header("x-amz-content-sha256"), sha256, "{} {}", head.method, head.uri);
        let query: BTreeMap<String, String> = head
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.replace("%2F", "/")))
            .collect();
        let words: Vec<_> = query.keys().map(String::as_str).collect();
        lock(&self.asked).push(format!("{} {}", head.method, words.join(" ")).trim().to_owned());
        lock(&self.signed_at).insert(header("x-amz-date"));
        if let (Some(clock), "PUT") = (&*lock(&self.clock), head.method.as_str()) {
            clock.set(UnixTime(clock.now().0 + 3_600_000));
        }
        let key = head.uri.path().strip_prefix("/bucket").unwrap().trim_start_matches('/').to_owned();
        let number = query.get("partNumber").map(|number| number.parse::<u32>().unwrap());
        match (head.method.as_str(), query.get("uploadId"), number) {
            ("HEAD", None, _) => self.head(&key),
            ("GET", None, _) => self.list_uploads(&query["prefix"]),
            ("GET", Some(id), _) => self.list_parts(id, query["part-number-marker"].parse().unwrap()),
            ("POST", None, _) => self.begin(key, header("x-amz-meta-sha256")),
            ("PUT", Some(id), Some(number)) => self.take(id, number, &body),
            ("POST", Some(id), _) => self.complete(id, &String::from_utf8_lossy(&body)),
            ("DELETE", Some(id), _) => {
                answer(if lock(&self.uploads).remove(id).is_some() { 204 } else { 404 }, String::new())
            }
            other => panic!("nobody asks {other:?}"),
        }
    }

    fn head(&self, key: &str) -> Response<ResponseBody> {
        let objects = lock(&self.objects);
        let Some((object, sha256)) = objects.get(key) else { return answer(404, String::new()) };
        Response::builder()
            .header("x-amz-meta-sha256", sha256)
            .header("content-length", object.len())
            .body(full(object.clone()))
            .unwrap()
    }

    fn list_uploads(&self, prefix: &str) -> Response<ResponseBody> {
        let uploads = lock(&self.uploads);
        let listed =
            uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix)).map(|(id, upload)| {
                format!("<Upload><Key>{}</Key><UploadId>{id}</UploadId></Upload>", upload.key)
            });
        let listed: String = listed.collect();
        answer(
            200,
            format!("<ListMultipartUploadsResult xmlns=\"urn:s3\">{listed}</ListMultipartUploadsResult>"),
        )
    }

    /// Two to a list.
    fn list_parts(&self, id: &str, after: u32) -> Response<ResponseBody> {
        let uploads = lock(&self.uploads);
        let Some(upload) = uploads.get(id) else { return answer(404, "<Error/>".into()) };
        let shown: Vec<_> = upload.parts.range(after + 1..).take(2).collect();
        let last = shown.last().map_or(after, |(number, _)| **number);
        let more = upload.parts.range(last + 1..).next().is_some();
        let parts: String = shown
            .iter()
            .map(|(number, part)| {
                let size = part.len();
                format!("<Part><PartNumber>{number}</PartNumber><ETag>\"tag{number}\"</ETag><Size>{size}</Size></Part>")
            })
            .collect();
        let state =
            format!("<IsTruncated>{more}</IsTruncated><NextPartNumberMarker>{last}</NextPartNumberMarker>");
        answer(200, format!("<ListPartsResult xmlns=\"urn:s3\">{state}{parts}</ListPartsResult>"))
    }

    fn begin(&self, key: String, sha256: String) -> Response<ResponseBody> {
        let mut uploads = lock(&self.uploads);
        let id = format!("upload-{}", lock(&self.asked).len());
        uploads.insert(id.clone(), Upload { key, sha256, parts: BTreeMap::new() });
        let id = format!("<UploadId>{id}</UploadId>");
        answer(200, format!("<InitiateMultipartUploadResult>{id}</InitiateMultipartUploadResult>"))
    }

    fn take(&self, id: &str, number: u32, part: &[u8]) -> Response<ResponseBody> {
        if self.takes.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return answer(503, "slow down".into());
        }
        let mut uploads = lock(&self.uploads);
        uploads.get_mut(id).unwrap().parts.insert(number, part.to_vec());
        let tag = format!("\"tag{number}\"");
        Response::builder().header("etag", tag).body(full("")).unwrap()
    }

    fn complete(&self, id: &str, list: &str) -> Response<ResponseBody> {
        if self.refuses_completion.load(Ordering::SeqCst) {
            return answer(200, "<Error><Code>InternalError</Code></Error>".into());
        }
        let upload = lock(&self.uploads).remove(id).unwrap();
        for number in upload.parts.keys() {
            let part = format!("<PartNumber>{number}</PartNumber><ETag>\"tag{number}\"</ETag>");
            assert!(list.replace("&quot;", "\"").contains(&part), "{list}");
        }
        let whole = upload.parts.into_values().flatten().collect();
        lock(&self.objects).insert(upload.key.clone(), (whole, upload.sha256));
        if self.loses_completion.load(Ordering::SeqCst) {
            return answer(500, "<Error/>".into());
        }
        let key = format!("<Key>{}</Key>", upload.key);
        answer(200, format!("<CompleteMultipartUploadResult>{key}</CompleteMultipartUploadResult>"))
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.asked))
    }
}

/// A log with one archive file of several parts that waits to be sent; the file's content.
async fn waiting(setup: &Setup, url: &str) -> (MessageLog, Keeper, Shutdown, Vec<u8>) {
    let mut sending = archiving(setup.dir.path());
    sending.archive.target = Some(Target::S3 {
        endpoint: url.to_owned(),
        bucket: "bucket".into(),
        prefix: "logs/".into(),
        path_style: true,
        credentials: Credentials {
            id: "key".into(),
            secret: "secret".to_owned().into(),
            region: "here".into(),
        },
        part_bytes: PART,
    });
    let (log, mut keeper, shutdown) = setup.open(sending);
    log_signed(&log, 1..=60).await;
    log.stamp_now(None).await.unwrap();
    keeper.archive(NOW, None).await.unwrap();
    let content = std::fs::read(setup.archives().remove(0)).unwrap();
    assert!(content.len() as u64 > 5 * PART, "{} bytes", content.len());
    (log, keeper, shutdown, content)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_goes_on_behind_what_arrived() {
    let (setup, (storage, url)) = (Setup::new().await, Storage::start().await);
    let (log, mut keeper, shutdown, content) = waiting(&setup, &url).await;
    storage.takes.store(3, Ordering::SeqCst);
    let error = keeper.send(&shutdown).await.unwrap_err().to_string();
    assert!(error.contains("503") && error.contains("slow down"), "{error}");
    let asked = storage.asked();
    assert_eq!(asked[..3], ["GET prefix uploads", "HEAD", "POST uploads"]);
    assert!(lock(&storage.objects).is_empty(), "nothing is there before all of it is");
    // Whoever goes on knows nothing of it but what the storage says.
    drop(keeper);
    let mut keeper = Keeper::new(&log, Clock::fixed(NOW), &[]).unwrap();
    storage.takes.store(i64::MAX, Ordering::SeqCst);
    keeper.send(&shutdown).await.unwrap();
    let asked = storage.asked();
    let sent = asked.iter().filter(|asked| asked.starts_with("PUT")).count() as u64;
    assert_eq!(sent, (content.len() as u64).div_ceil(PART) - 3, "{asked:?}");
    assert!(!asked.contains(&"POST uploads".to_owned()), "{asked:?}");
    let objects = lock(&storage.objects).clone();
    let [(key, (object, sha256))] = objects.iter().collect::<Vec<_>>()[..] else { panic!("{objects:?}") };
    assert!(key.starts_with("logs/mlog-"), "{key}");
    assert_eq!(*object, content);
    assert_eq!(*sha256, hex::encode(DigestAlgorithm::Sha256.digest(&content).value));
    assert!(lock(&storage.uploads).is_empty());
    keeper.send(&shutdown).await.unwrap();
    assert_eq!(storage.asked(), [""; 0], "it was sent");
    shutdown.stop();
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_other_parts_or_a_second_one_is_aborted() {
    let (setup, (storage, url)) = (Setup::new().await, Storage::start().await);
    let (log, mut keeper, shutdown, content) = waiting(&setup, &url).await;
    let name = setup.archives().remove(0).file_name().unwrap().to_str().unwrap().to_owned();
    let (key, sha256) = (format!("logs/{name}"), String::new());
    let upload = |key: &str, length: u64| Upload {
        key: key.to_owned(),
        sha256: sha256.clone(),
        parts: [(1, vec![0; length as usize])].into(),
    };
    let neighbour = format!("{key}.other");
    lock(&storage.uploads).insert("a".into(), upload(&key, PART + 1));
    lock(&storage.uploads).insert("b".into(), upload(&neighbour, 1));
    keeper.send(&shutdown).await.unwrap();
    assert_eq!(lock(&storage.objects)[&key].0, content);
    assert_eq!(lock(&storage.uploads).keys().collect::<Vec<_>>(), ["b"], "another object's upload stays");
    shutdown.stop();
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn completion_refused_cleans_up_and_completion_unheard_counts() {
    let (setup, (storage, url)) = (Setup::new().await, Storage::start().await);
    let (log, mut keeper, shutdown, content) = waiting(&setup, &url).await;
    storage.refuses_completion.store(true, Ordering::SeqCst);
    let error = keeper.send(&shutdown).await.unwrap_err().to_string();
    assert!(error.contains("InternalError"), "{error}");
    assert!(lock(&storage.uploads).is_empty() && lock(&storage.objects).is_empty(), "it was aborted");
    storage.refuses_completion.store(false, Ordering::SeqCst);
    storage.loses_completion.store(true, Ordering::SeqCst);
    keeper.send(&shutdown).await.unwrap_err();
    let objects = lock(&storage.objects).clone();
    assert_eq!(objects.values().map(|(object, _)| object).collect::<Vec<_>>(), [&content]);
    storage.asked();
    keeper.send(&shutdown).await.unwrap();
    assert_eq!(storage.asked(), ["GET prefix uploads", "HEAD"], "the storage has it already");
    shutdown.stop();
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_is_signed_with_the_time_at_which_it_is_sent() {
    let (setup, (storage, url)) = (Setup::new().await, Storage::start().await);
    let (log, keeper, shutdown, content) = waiting(&setup, &url).await;
    drop(keeper);
    let clock = Clock::fixed(NOW);
    let mut keeper = Keeper::new(&log, clock.clone(), &[]).unwrap();
    *lock(&storage.clock) = Some(clock);
    keeper.send(&shutdown).await.unwrap();
    let parts = (content.len() as u64).div_ceil(PART);
    assert_eq!(
        lock(&storage.signed_at).len() as u64,
        parts + 1,
        "each part, and the completion an hour later"
    );
    shutdown.stop();
    log.close().await;
}
