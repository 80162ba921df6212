//! The console: a page for people, and the JSON behind it (`docs/console.md`), served by the admin listener.
//!
//! Two halves. [`Console`] lasts as long as the process: files of the page, who is logged in, what keeps strangers out.
//! [`service::Service`] belongs to one session of the broker and answers what is asked about it, on the control thread;
//! between two sessions there is none, and the answer says so. Invariants:
//! - nothing that is asked here is waited for by anybody else: what blocks (Kafka requests, passwords) runs on the pool,
//!   a few at a time; a shard is asked for a bounded number of partitions a message; a panic here ends no broker;
//! - a number is what was measured; what is not known is `null`;
//! - whoever changes something has logged in, and the request came from a page of this console or from no page.
//!
//! | file | holds |
//! |---|---|
//! | [`mod@self`] | requests: who asks, whether they may, and who answers |
//! | `assets` | the files of the page |
//! | `guard` | what keeps other web sites out |
//! | `sessions`, `attempts` | who is logged in; how often a password may be tried |
//! | `access` | who may see and do what |
//! | `call` | a question to a session's half, and its answer |
//! | [`service`] | that half: which part answers what |
//! | `kafka` | the cluster asked as any client asks it |
//! | `traffic`, `history` | figures that take two looks |
//! | `api` | one file a concern: what is answered |

mod access;
mod api;
mod assets;
mod attempts;
mod call;
mod guard;
mod history;
mod kafka;
mod request;
pub(crate) mod service;
mod sessions;
mod traffic;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, HeaderValue, LOCATION, RETRY_AFTER,
    SET_COOKIE, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use security::secret::Secret;
use serde::Deserialize;
use serde_json::json;

use crate::config::{Config, SecurityError};
use crate::control::admin::{Answering, Asked};
use crate::control::events::{EventKind, Events, Severity};
use access::Login;
use attempts::Attempts;
use call::{Answer, Ask, Call, Verify};
use sessions::{BROWSER_LIFE, SCRIPT_LIFE, Sessions, Shown};

pub(crate) use kafka::CLIENTS_MAX;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Questions that wait for the session's half.
const CALLS_MAX: usize = 64;
/// Bytes of a name and of a password.
const CREDENTIAL_BYTES_MAX: usize = 1_024;
/// The cookie's name, as in the original.
const COOKIE_NAME: &str = "kafscale_ui_session";
const JSON: &str = "application/json";

/// The account of the settings.
struct Account {
    name: Arc<str>,
    password: Secret,
}

/// The half of the console that lasts. Shared by the connections of the admin listener.
pub(crate) struct Console {
    listens: IpAddr,
    account: Option<Account>,
    sessions: Sessions,
    attempts: Attempts,
    events: Arc<Events>,
    service: Mutex<Option<flume::Sender<Call>>>,
}

/// Who asks, as far as the request tells.
enum Who {
    Nobody,
    /// With a cookie, or with a password that was checked a moment ago.
    Known(Login),
    /// Whose password is to be checked.
    Claims(String, Secret, Shown),
    /// What they show cannot be read.
    Malformed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginForm {
    user: String,
    password: String,
}

impl Console {
    /// As the settings say. Nobody is logged in.
    ///
    /// # Errors
    /// The password of the console's own account cannot be read.
    pub(crate) fn new(config: &Config, events: Arc<Events>) -> Result<Arc<Self>, SecurityError> {
        let account = config.console_account()?.map(|(name, password)| Account {
            name: name.into(),
            password: Secret::new(password.expose()),
        });
        Ok(Arc::new(Self {
            listens: config.admin.addr.ip(),
            account,
            sessions: Sessions::default(),
            attempts: Attempts::default(),
            events,
            service: Mutex::default(),
        }))
    }

    fn service(&self) -> MutexGuard<'_, Option<flume::Sender<Call>>> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of the broker answers from now on: gives what it is asked.
    pub(crate) fn open(&self) -> flume::Receiver<Call> {
        let (sender, calls) = flume::bounded(CALLS_MAX);
        *self.service() = Some(sender);
        calls
    }

    /// It is over.
    pub(crate) fn close(&self) {
        *self.service() = None;
    }

    /// Whether a path is the console's.
    pub(crate) fn has(path: &str) -> bool {
        let folders = ["/console/", "/api/", "/debug/"];
        path == "/console" || folders.iter().any(|folder| path.starts_with(folder))
    }

    /// Answers a request for such a path.
    pub(crate) fn answer(self: &Arc<Self>, asked: Asked) -> Answering {
        let path = asked.request.uri().path();
        if path == "/console" {
            return Box::pin(std::future::ready(moved("/console/")));
        }
        if let Some(file) = path.strip_prefix("/console/") {
            let answer = self.file(file, &asked.request);
            return Box::pin(std::future::ready(answer));
        }
        let this = self.clone();
        Box::pin(async move {
            let answer = this.api(asked).await;
            finish(answer.unwrap_or_else(|refused| refused))
        })
    }

    /// A file of the page.
    fn file(&self, file: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return finish(method_not_allowed("GET, HEAD"));
        }
        if !guard::is_ours(request.headers(), self.listens) {
            return finish(misdirected());
        }
        match assets::answer(file, request.headers()) {
            Some(answer) => finish(answer),
            None => finish(problem(StatusCode::NOT_FOUND, "no such file")),
        }
    }

    /// What the page and scripts ask.
    async fn api(&self, asked: Asked) -> Result<Response<Full<Bytes>>, Response<Full<Bytes>>> {
        let Asked {
            request,
            from,
            is_tls,
        } = asked;
        let (head, body) = request.into_parts();
        if !guard::is_ours(&head.headers, self.listens) {
            return Err(misdirected());
        }
        let is_read = matches!(head.method, Method::GET | Method::HEAD);
        let cookie = cookie(&head.headers);
        let by_cookie = cookie.is_some() && !head.headers.contains_key(AUTHORIZATION);
        if !is_read && !guard::may_change(&head.headers, is_tls, by_cookie) {
            let text = "a change must come from a page of this console (Origin), or from a script";
            return Err(problem(StatusCode::FORBIDDEN, text));
        }
        let path = head.uri.path();
        if path == "/api/v1/session" && !is_read {
            return match head.method {
                Method::POST => self.log_in(&head.headers, body, from, is_tls).await,
                Method::DELETE => Ok(self.log_out(cookie, is_tls)),
                _ => Err(method_not_allowed("GET, HEAD, POST, DELETE")),
            };
        }
        let login = self.identify(&head.headers, cookie, from).await?;
        let body = match is_read {
            true => Bytes::new(),
            false => json_body(&head.headers, body).await?,
        };
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            method: match head.method {
                Method::HEAD => Method::GET,
                method => method,
            },
            path: path.to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body,
            login,
            from,
            is_tls,
            reply,
        };
        let answer: Answer = self.ask(Call::Ask(ask), answer).await?;
        Ok(json_response(answer.status, answer.body))
    }

    /// Sends a question to the session's half and waits for the answer.
    async fn ask<T>(
        &self,
        call: Call,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, Response<Full<Bytes>>> {
        let sender = self.service().clone();
        let between = || {
            let text = "the broker has no session now: one is being begun";
            problem(StatusCode::SERVICE_UNAVAILABLE, text)
        };
        let sender = sender.ok_or_else(between)?;
        sender.try_send(call).map_err(|error| match error {
            flume::TrySendError::Full(_) => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "too many questions wait")
            }
            flume::TrySendError::Disconnected(_) => between(),
        })?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "there is no answer: the broker's session ended, or the console has failed (see the log)",
            )),
            Err(_) => Err(problem(
                StatusCode::GATEWAY_TIMEOUT,
                "there was no answer in time",
            )),
        }
    }

    /// Who asks; a password that comes with the request is checked.
    async fn identify(
        &self,
        headers: &HeaderMap<HeaderValue>,
        cookie: Option<&str>,
        from: IpAddr,
    ) -> Result<Option<Login>, Response<Full<Bytes>>> {
        match self.who(headers, cookie) {
            Who::Nobody => Ok(None),
            Who::Known(login) => Ok(Some(login)),
            Who::Malformed => Err(problem(
                StatusCode::BAD_REQUEST,
                "Authorization must be Basic, with name:password in base64",
            )),
            Who::Claims(user, password, shown) => {
                let login = self.verify(user, password, from).await?;
                let until = Instant::now() + SCRIPT_LIFE;
                self.sessions.remember(shown, login.clone(), until);
                Ok(Some(login))
            }
        }
    }

    fn who(&self, headers: &HeaderMap<HeaderValue>, cookie: Option<&str>) -> Who {
        let now = Instant::now();
        let Some(shown) = headers.get(AUTHORIZATION) else {
            let found =
                cookie.and_then(|token| self.sessions.find(Shown::of(token.as_bytes()), now));
            return found.map_or(Who::Nobody, Who::Known);
        };
        let hash = Shown::of(shown.as_bytes());
        if let Some(login) = self.sessions.find(hash, now) {
            return Who::Known(login);
        }
        match basic(shown) {
            Some((user, password)) => Who::Claims(user, password, hash),
            None => Who::Malformed,
        }
    }

    /// Checks a password.
    async fn verify(
        &self,
        user: String,
        password: Secret,
        from: IpAddr,
    ) -> Result<Login, Response<Full<Bytes>>> {
        if let Err(seconds) = self.attempts.begin(from, Instant::now()) {
            let text = format!("too many wrong passwords: try again in {seconds} s");
            let mut answer = problem(StatusCode::TOO_MANY_REQUESTS, &text);
            answer
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
            return Err(answer);
        }
        let login = match self.own_account(&user, &password) {
            Some(login) => Some(login),
            None => {
                let (reply, answer) = oneshot::channel();
                let verify = Verify {
                    user: user.clone(),
                    password,
                    reply,
                };
                self.ask(Call::Verify(verify), answer).await?
            }
        };
        let Some(login) = login else {
            tracing::warn!(%from, "a wrong name or password was shown to the console");
            let answer = problem(StatusCode::UNAUTHORIZED, "wrong name or password");
            return Err(answer);
        };
        self.attempts.succeeded(from);
        Ok(login)
    }

    /// Whether it is the account of the settings. Takes as long for a wrong name as for a wrong password.
    fn own_account(&self, user: &str, password: &Secret) -> Option<Login> {
        let account = self.account.as_ref()?;
        let is_name = Secret::new(account.name.as_bytes()).is(user.as_bytes());
        let is_password = account.password.is(password.expose());
        (is_name & is_password).then(|| Login::Console(account.name.clone()))
    }

    async fn log_in(
        &self,
        headers: &HeaderMap<HeaderValue>,
        body: Incoming,
        from: IpAddr,
        is_tls: bool,
    ) -> Result<Response<Full<Bytes>>, Response<Full<Bytes>>> {
        let body = json_body(headers, body).await?;
        let form: LoginForm = serde_json::from_slice(&body)
            .map_err(|error| problem(StatusCode::BAD_REQUEST, &error.to_string()))?;
        let LoginForm { user, password } = form;
        if user.len().max(password.len()) > CREDENTIAL_BYTES_MAX {
            return Err(problem(
                StatusCode::BAD_REQUEST,
                "name or password is too long",
            ));
        }
        let login = self.verify(user, Secret::new(password), from).await?;
        let text = format!("{} has logged in from {from}", login.name());
        self.events.note(EventKind::Console, Severity::Info, text);
        tracing::info!(user = login.name(), %from, "logged in to the console");
        let token = self.sessions.begin(login.clone(), Instant::now());
        let body = json!({ "user": login.name() });
        let mut answer = json_response(StatusCode::OK, body.to_string());
        set_cookie(&mut answer, &token, BROWSER_LIFE, is_tls);
        Ok(answer)
    }

    fn log_out(&self, cookie: Option<&str>, is_tls: bool) -> Response<Full<Bytes>> {
        if let Some(token) = cookie {
            self.sessions.end(Shown::of(token.as_bytes()));
        }
        let mut answer = json_response(StatusCode::OK, json!({ "user": null }).to_string());
        set_cookie(&mut answer, "", Duration::ZERO, is_tls);
        answer
    }
}

/// The token in the cookie, if there is one.
fn cookie(headers: &HeaderMap<HeaderValue>) -> Option<&str> {
    let all = headers.get_all(COOKIE).iter();
    let pairs = all
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(';'));
    let mut values = pairs.filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE_NAME && !value.is_empty()).then_some(value)
    });
    values.next()
}

fn set_cookie(answer: &mut Response<Full<Bytes>>, token: &str, life: Duration, is_tls: bool) {
    let (seconds, secure) = (life.as_secs(), if is_tls { "; Secure" } else { "" });
    let text = format!(
        "{COOKIE_NAME}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    let value = HeaderValue::from_str(&text).expect("a token is hexadecimal digits");
    answer.headers_mut().insert(SET_COOKIE, value);
}

/// Name and password of HTTP Basic.
fn basic(header: &HeaderValue) -> Option<(String, Secret)> {
    let text = header.to_str().ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > 4 * CREDENTIAL_BYTES_MAX {
        return None;
    }
    let decoded = base64_simd::STANDARD.decode_to_vec(encoded.trim()).ok()?;
    let decoded = Secret::new(decoded);
    let text = std::str::from_utf8(decoded.expose()).ok()?;
    let (user, password) = text.split_once(':')?;
    let is_short = user.len().max(password.len()) <= CREDENTIAL_BYTES_MAX;
    is_short.then(|| (user.to_owned(), Secret::new(password)))
}

/// Reads a body of JSON, within its bounds.
async fn json_body(
    headers: &HeaderMap<HeaderValue>,
    body: Incoming,
) -> Result<Bytes, Response<Full<Bytes>>> {
    let kind = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let kind = kind.map(|it| it.split(';').next().unwrap_or_default().trim());
    let read = Limited::new(body, BODY_BYTES_MAX).collect();
    let read = tokio::time::timeout(BODY_TIMEOUT, read).await;
    let read = read.map_err(|_| problem(StatusCode::REQUEST_TIMEOUT, "the body did not come"))?;
    let too_large = |_| problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    let bytes = read.map_err(too_large)?.to_bytes();
    // A form of another site cannot say so without asking first.
    if !bytes.is_empty() && !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(JSON)) {
        let text = "the body must be application/json";
        return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    Ok(bytes)
}

fn json_response(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        // Not `Basic`: a browser would ask by itself, and send what it is told with every request from then on.
        let scheme = HeaderValue::from_static("KafScale");
        headers.insert(WWW_AUTHENTICATE, scheme);
    }
    answer
}

/// A refusal, in words.
fn problem(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    json_response(status, json!({ "error": text }).to_string())
}

fn misdirected() -> Response<Full<Bytes>> {
    let text = "this host name is not this machine's: use localhost or the address that the broker listens on";
    problem(StatusCode::MISDIRECTED_REQUEST, text)
}

fn method_not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "not with this method");
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn moved(to: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
    answer
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static(to));
    finish(answer)
}

/// Adds what every answer says.
fn finish(mut answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    for (name, value) in guard::HEADERS {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    answer
}
