//! Runs cases, one after the other: each has both information systems for itself.

use std::time::{Duration, Instant};

use crate::case::{Body, Case, Outcome, SOAP_REQUEST};
use crate::config::Settings;
use crate::http::{Message, exchange};
use crate::information_system::InformationSystem;

/// How a case came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All holds.
    Passed,
    /// What does not.
    Failed(Vec<String>),
    /// What does not, and why that is known.
    Known(Vec<String>, String),
    /// It was not run.
    Skipped(&'static str),
}

/// A case that was run.
#[derive(Clone, Debug)]
pub struct Result {
    /// Which.
    pub case: &'static Case,
    /// How it came out.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// Plays cases against two servers.
#[derive(Debug)]
pub struct Runner<'a> {
    settings: &'a Settings,
    system: InformationSystem,
    /// Makes message ids of this run its own.
    run: String,
}

impl<'a> Runner<'a> {
    /// With an information system that listens already.
    pub fn new(settings: &'a Settings, system: InformationSystem) -> Self {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self { settings, system, run: format!("{:x}-{}", since.as_nanos(), std::process::id()) }
    }

    /// Runs the cases whose ids hold `only`.
    pub fn run_all(&self, only: &str, mut done: impl FnMut(&Result)) -> Vec<Result> {
        let cases = crate::cases::all().filter(|case| case.id().contains(only));
        cases
            .map(|case| {
                let began = Instant::now();
                let verdict = self.judge(case);
                let result = Result { case, verdict, took: began.elapsed() };
                done(&result);
                result
            })
            .collect()
    }

    fn judge(&self, case: &Case) -> Verdict {
        if case.needs_stranger() && self.settings.stranger.is_none() {
            return Verdict::Skipped("no stranger is configured");
        }
        let problems = self.play(case);
        let known = self.settings.known.iter().find(|known| known.case == case.id());
        match (problems.is_empty(), known) {
            (true, None) => Verdict::Passed,
            (true, Some(_)) => {
                Verdict::Failed(vec!["it holds, although it is listed as a known difference".to_owned()])
            }
            (false, Some(known)) => Verdict::Known(problems, known.reason.clone()),
            (false, None) => Verdict::Failed(problems),
        }
    }

    /// What does not hold.
    fn play(&self, case: &Case) -> Vec<String> {
        let fill = |text: &str| self.fill(case, text);
        self.system.prepare(case.answer.as_bytes().to_vec());
        let body = body(case, &fill);
        let request = self.request(case.line, case.headers, &case.body, &body, &fill);
        let got = match exchange(&self.settings.consumer, &request, case.line.starts_with("HEAD ")) {
            Ok(got) => got,
            Err(error) => return vec![format!("the consumer's server gives no answer: {error}")],
        };
        let seen = self.system.seen();
        let ask = |line: &str, headers: &[&str]| {
            let request = self.request(line, headers, &Body::None, b"", &fill);
            exchange(&self.settings.consumer, &request, false).map_err(|error| error.to_string())
        };
        let outcome = Outcome { got: &got, seen: &seen, sent: &body, fill: &fill, ask: &ask };
        case.holds.iter().filter_map(|holds| holds.check(&outcome).err()).collect()
    }

    fn request(
        &self,
        line: &str,
        headers: &[&str],
        kind: &Body,
        body: &[u8],
        fill: &dyn Fn(&str) -> String,
    ) -> Vec<u8> {
        let mut head = format!("{} HTTP/1.1\r\nHost: {}\r\n", fill(line), self.settings.consumer);
        for line in headers {
            head += &fill(line);
            head += "\r\n";
        }
        if !headers.iter().any(|line| line.starts_with("Connection:")) {
            head += "Connection: close\r\n";
        }
        match kind {
            Body::None => {}
            Body::Chunks(_) => head += "Transfer-Encoding: chunked\r\n",
            Body::Text(_) | Body::Bytes(_) | Body::Filler(_) => {
                head += &format!("Content-Length: {}\r\n", body.len());
            }
        }
        let mut request = (head + "\r\n").into_bytes();
        if let Body::Chunks(chunks) = kind {
            for chunk in *chunks {
                request.extend(format!("{:x}\r\n{chunk}\r\n", chunk.len()).into_bytes());
            }
            request.extend_from_slice(b"0\r\n\r\n");
        } else {
            request.extend_from_slice(body);
        }
        request
    }

    fn fill(&self, case: &Case, text: &str) -> String {
        let settings = self.settings;
        let mut soap = SOAP_REQUEST.to_owned();
        for (from, to) in case.edits {
            soap = soap.replace(from, to);
        }
        let stranger = settings.stranger.as_ref();
        let provider = settings.provider.path();
        // Last, since the message holds other marks.
        let marks = [
            ("{soap}", soap),
            ("{rest}", format!("{{r1}}/{}", crate::services::REST)),
            ("{r1}", format!("/r1/{provider}")),
            ("{id}", format!("{}-{}", self.run, case.id().replace('/', "-"))),
            ("{client}", settings.client.path()),
            ("{client-xml}", settings.client.xml()),
            ("{client-kind}", settings.client.kind().to_owned()),
            ("{client-query}", settings.client.query()),
            ("{stranger}", stranger.map(|id| id.path()).unwrap_or_default()),
            ("{stranger-xml}", stranger.map(|id| id.xml()).unwrap_or_default()),
            ("{stranger-kind}", stranger.map(|id| id.kind()).unwrap_or_default().to_owned()),
            ("{provider-xml}", settings.provider.xml()),
            ("{server-xml}", settings.provider_server.xml().replace("subsystemCode", "serverCode")),
            ("{server}", settings.provider_server.path()),
            ("{provider-code}", settings.provider.0[3].clone()),
            ("{instance}", settings.provider.0[0].clone()),
            ("{provider}", provider),
        ];
        let mut text = text.to_owned();
        for (mark, value) in marks {
            text = text.replace(mark, &value);
        }
        text
    }
}

fn body(case: &Case, fill: &dyn Fn(&str) -> String) -> Vec<u8> {
    match case.body {
        Body::None => Vec::new(),
        Body::Text(text) => fill(text).into_bytes(),
        Body::Bytes(bytes) => bytes.to_vec(),
        Body::Chunks(chunks) => chunks.concat().into_bytes(),
        Body::Filler(length) => (0..length).map(|at| b"0123456789abcdef"[at % 16]).collect(),
    }
}

/// What a message was in bytes that both sides agree on, for checks that hash them.
pub fn sha512(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA512, bytes).as_ref().to_vec()
}

/// The status line of an answer, for messages to people.
pub fn status_line(message: &Message) -> String {
    format!("{} ({})", message.start, message.text().chars().take(80).collect::<String>())
}
