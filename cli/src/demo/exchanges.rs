//! The exchanges of the demo, and their evidence: REST without and with a body, SOAP; both messages of each as ASiC-E containers.
//!
//! Containers lie in `evidence/` of the demo's folder. They are verified the way anybody would: offline, against the configuration that
//! the consumer's security server has stored, at the time that their timestamp says.

use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use sandbox::ecosystem::Ecosystem;
use sandbox::information_system::{Answer, Call, Kind, Message, container_url};
use sandbox::parties;

use super::report;

/// What the answer to each call must hold.
const EXPECTED: &str = "Korpi";
/// The child who moved.
const CHILD: &str = "M-2019-0502";

/// One exchange and what became of it.
pub(super) struct Asked {
    call: Call,
    answer: Answer,
    evidence: Vec<Evidence>,
}

/// One message's container.
struct Evidence {
    message: Message,
    path: PathBuf,
    verdict: Result<pki::asic::Report, String>,
}

/// The calls, in the order in which they are made.
fn calls() -> [Call; 3] {
    let search = br#"{"bornFrom":"2019-01-01","bornTo":"2019-12-31","movedTo":"Rannala"}"#;
    let content = format!(
        r#"<residentDetails xmlns="{}"><code>{CHILD}</code></residentDetails>"#,
        sandbox::services::soap::NAMESPACE
    );
    let (school, register) = (parties::school(), parties::register());
    [
        Call::rest(&school, &register, Method::GET, &format!("/residents/{CHILD}"), None),
        Call::rest(
            &school,
            &register,
            Method::POST,
            "/searches",
            Some(("application/json", Bytes::from_static(search))),
        ),
        Call::soap(&school, &parties::resident_details(), &content),
    ]
}

/// Makes every call.
pub(super) async fn ask(ecosystem: &Ecosystem) -> anyhow::Result<Vec<Asked>> {
    let system = ecosystem.information_system();
    let mut asked = Vec::new();
    for call in calls() {
        let answer = system.send(&call).await.with_context(|| format!("{} {}", call.method, call.target))?;
        asked.push(Asked { call, answer, evidence: Vec::new() });
    }
    Ok(asked)
}

/// Fetches and verifies the containers of every exchange that was answered.
pub(super) async fn fetch_evidence(ecosystem: &Ecosystem, asked: &mut [Asked]) -> anyhow::Result<()> {
    let folder = ecosystem.dir().join("evidence");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let conf = pki::globalconf::load_directory(&ecosystem.consumer_globalconf())
        .context("the stored configuration")?;
    let system = ecosystem.information_system();
    for one in asked.iter_mut().filter(|one| one.answered()) {
        for message in [Message::Request, Message::Response] {
            let id = &one.call.message_id;
            let path = folder.join(format!("{id}-{}.asice", message.name()));
            let container = system.container(&parties::school(), id, message).await?;
            let verdict = match container.status {
                StatusCode::OK => store_and_verify(&path, &container.body, &conf)?,
                status => Err(format!("{status}: {}", String::from_utf8_lossy(&container.body))),
            };
            one.evidence.push(Evidence { message, path, verdict });
        }
    }
    Ok(())
}

/// The file is read back, so that what is verified is what is kept.
fn store_and_verify(
    path: &Path,
    container: &[u8],
    conf: &pki::globalconf::GlobalConf,
) -> anyhow::Result<Result<pki::asic::Report, String>> {
    std::fs::write(path, container).with_context(|| path.display().to_string())?;
    let kept = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(pki::asic::verify(Cursor::new(kept), conf).map_err(|rejection| rejection.to_string()))
}

impl Asked {
    /// The answer is the one that the register gives.
    fn answered(&self) -> bool {
        self.answer.status == StatusCode::OK && String::from_utf8_lossy(&self.answer.body).contains(EXPECTED)
    }

    /// Answered, and the evidence of both messages names the right parties.
    pub(super) fn held(&self) -> bool {
        self.answered() && self.evidence.len() == 2 && self.evidence.iter().all(Evidence::holds)
    }

    fn response(&self) -> Option<&Evidence> {
        self.evidence.iter().find(|evidence| evidence.message == Message::Response)
    }

    /// A line per container.
    pub(super) fn evidence_lines(&self) -> impl Iterator<Item = String> {
        self.evidence.iter().map(|evidence| match &evidence.verdict {
            Ok(found) => format!(
                "{:<8} signed by {}, timestamped {}  {}",
                evidence.message.name(),
                found.signer.short(),
                found.timestamped_at.to_iso8601(),
                evidence.path.display()
            ),
            Err(reason) => format!("{:<8} REJECTED: {reason}", evidence.message.name()),
        })
    }

    /// As `--json` has it.
    pub(super) fn report(&self) -> report::Exchange {
        let response = self.response();
        let proven = response.and_then(|evidence| evidence.verdict.as_ref().ok());
        report::Exchange {
            kind: self.call.kind.name(),
            message_id: self.call.message_id.clone(),
            status: self.answer.status.as_u16(),
            elapsed_ms: (self.answer.elapsed.as_secs_f64() * 1e5).round() / 100.0,
            container: response.map(|evidence| evidence.path.display().to_string()),
            verified: self.held(),
            signed_by: proven.map(|found| found.signer.short()),
            timestamped_at: proven.map(|found| found.timestamped_at.to_iso8601()),
        }
    }
}

impl Evidence {
    fn holds(&self) -> bool {
        let expected = match self.message {
            Message::Request => parties::school(),
            Message::Response => parties::population(),
        };
        self.verdict.as_ref().is_ok_and(|found| found.signer == expected)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.call.kind {
            Kind::Rest => format!("REST {} {}", self.call.method, self.call.target.trim_start_matches("/r1")),
            Kind::Soap => "SOAP residentDetails.v1".to_owned(),
        };
        write!(
            f,
            "{what}: {}, {:.1} ms",
            self.answer.status.as_u16(),
            self.answer.elapsed.as_secs_f64() * 1e3
        )?;
        match self.answer.fault() {
            Some(fault) => write!(f, ", {fault}: {}", String::from_utf8_lossy(&self.answer.body)),
            None if self.answered() => write!(f, ", {} bytes", self.answer.body.len()),
            None => write!(f, ", not the expected answer: {}", String::from_utf8_lossy(&self.answer.body)),
        }
    }
}

/// Lines for a shell: each call, and the container of the first one's answer with the way to verify it.
pub(super) fn curl_lines(ecosystem: &Ecosystem) -> anyhow::Result<Vec<String>> {
    let base = ecosystem.information_system().base().to_owned();
    let dir = ecosystem.dir().canonicalize().context("the demo's folder")?;
    let mut lines = Vec::new();
    for call in calls() {
        let file = match call.kind {
            Kind::Rest => None,
            Kind::Soap => {
                let path = dir.join("resident-details.xml");
                std::fs::write(&path, &call.body).with_context(|| path.display().to_string())?;
                Some(path.display().to_string())
            }
        };
        lines.push(call.curl(&base, file.as_deref()));
    }
    let first = calls().into_iter().next().context("there are calls")?;
    let mut named = first.clone();
    // A new one each time the line is pasted, since a container is asked for by it.
    named.message_id = ID.to_owned();
    ensure!(first.kind == Kind::Rest, "the first call is over REST, since its id goes into a header");
    named.headers.push(("X-Road-Id", named.message_id.clone()));
    let url = container_url(&base, &parties::school(), &named.message_id, Message::Response);
    let program = std::env::current_exe().context("this program's own path")?;
    let (program, conf) = (program.display(), ecosystem.consumer_globalconf().canonicalize()?);
    lines.push(format!(
        "id=my-$(date +%s%N) && {} && echo && curl -sSf -o answer.asice '{}' && '{program}' verify answer.asice --conf '{}'",
        in_shell(&named.curl(&base, None)),
        in_shell(&url),
        conf.display()
    ));
    Ok(lines)
}

/// Stands for the id in what is quoted for the shell.
const ID: &str = "ThisMessage";

/// `quoted` with [`ID`] as the shell's variable.
fn in_shell(quoted: &str) -> String {
    quoted.replace(ID, "'\"$id\"'")
}
