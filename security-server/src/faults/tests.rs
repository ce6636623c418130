//! Codes, statuses and forms of what is told.
use proto::fault::Style;

use super::*;
use crate::exchange::reading::ReadError;

fn code(side: Side, error: &impl Faulty) -> String {
    Failure::of(side, error).into_refusal().outcome(Style::Snake)
}

impl Failure {
    fn into_refusal(self) -> Refusal {
        self.into()
    }
}

/// What each family says under each side; codes are those of stock servers.
#[test]
fn every_family_chooses_its_code() {
    use Side::{ClientProxy as C, ServerProxy as S};
    let disk = LogError::Disk("ENOSPC".into());
    let cases = [
        (code(C, &LogError::TimestampingFailed), "server.clientproxy.logging_failed.timestamping_failed"),
        (
            code(S, &LogError::NoTimestampingService),
            "server.serverproxy.logging_failed.mlog.no_timestamping_provider_found",
        ),
        (code(C, &disk), "server.clientproxy.logging_failed.database_error"),
        (code(S, &LogError::BodyTooLarge { limit: 1 }), "server.serverproxy.logging_failed"),
        (code(S, &ReadError::Log(disk)), "server.serverproxy.logging_failed.database_error"),
        (code(S, &ReadError::Idle(std::time::Duration::ZERO)), "server.serverproxy.io_error"),
        (code(C, &ReadError::Transport(TransportError::Truncated)), "server.clientproxy.io_error"),
        (code(S, &TransportError::MissingSignature), "server.serverproxy.missing_signature"),
        (code(S, &TransportError::AfterSignature), "server.serverproxy.service_failed.invalid_message"),
        (code(S, &SignError::Timeout), "server.serverproxy.cannot_create_signature"),
        (code(C, &Busy::Share), "server.clientproxy.internal_error"),
        (code(S, &Replayed), "server.serverproxy.invalid_message"),
        (code(S, &TrustError::NoOcsp), "server.serverproxy.ssl_authentication_failed"),
        (
            code(S, &VerifyError::Uncovered("/attachment1".into())),
            "server.serverproxy.signature_verification.malformed_signature",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn the_next_hop_is_named_once_and_first() {
    let failure =
        Failure::new(Side::ServerProxy, &[FaultCode::UnknownMember], "x").of_next_hop().of_next_hop();
    let told = failure.into_refusal().tell(Style::Camel);
    assert_eq!(told.fault.code, "Server.ServerProxy.ServiceFailed.UnknownMember");
}

/// The cause is for the log alone; the reader gets a sentence, the code and the id.
#[test]
fn causes_stay_in_the_log() {
    let told = Failure::of(Side::ClientProxy, &LogError::Disk("/var/secret: ENOSPC".into()))
        .into_refusal()
        .tell(Style::Snake);
    let soap = String::from_utf8(told.soap.to_vec()).expect("text");
    assert!(!soap.contains("secret") && soap.contains("tell the administrator"), "{soap}");
    assert!(uuid::Uuid::parse_str(&told.fault.detail).is_ok(), "{}", told.fault.detail);
    let because = Failure::new(Side::ClientProxy, &[FaultCode::IoError], "a sentence").because("a cause");
    assert_eq!(because.into_refusal().tell(Style::Snake).fault.message, "a sentence");
}

/// The rows of the reference's test of the `Accept` header, and what was recorded on it.
#[test]
fn the_rest_error_follows_accept() {
    let cases: [(&[&str], &str); 12] = [
        (&[], "application/json"),
        (&["application/json;charset=utf-8"], "application/json"),
        (&["foobarbaz"], "application/json"),
        (&["*/*"], "application/json"),
        (&["text/html"], "application/json"),
        (&[";;;,"], "application/json"),
        (&["application/xml"], "application/xml;charset=utf-8"),
        (&["TEXT/XML"], "text/xml;charset=utf-8"),
        (&["application/xml, text/xml"], "application/xml;charset=utf-8"),
        (&["application/json, text/xml;q=0.1"], "text/xml;charset=utf-8"),
        (&["application/json", "text/xml"], "text/xml;charset=utf-8"),
        (&["text/*"], "text/xml;charset=utf-8"),
    ];
    let told = Failure::new(Side::ClientProxy, &[FaultCode::UnknownMember], "no such <client>")
        .into_refusal()
        .tell(Style::Snake);
    for (accept, content_type) in cases {
        let answer = told.to_rest(accept.iter().map(|a| a.as_bytes()));
        assert_eq!(answer.status, 500, "{accept:?}");
        assert_eq!(answer.headers.text("content-type"), Some(content_type), "{accept:?}");
        assert_eq!(answer.headers.text("x-road-error"), Some("server.clientproxy.unknown_member"));
        let AnswerBody::Bytes(body) = answer.body else { panic!("a body in memory") };
        let body = String::from_utf8(body.to_vec()).expect("text");
        assert!(body.contains(&told.fault.detail), "{body}");
        assert_eq!(
            body.contains("<type>server.clientproxy.unknown_member</type>"),
            content_type.contains("xml")
        );
    }
}

#[test]
fn statuses_follow_the_code_and_busy_is_503() {
    let status =
        |failure: Failure| failure.into_refusal().tell(Style::Snake).to_rest(std::iter::empty()).status;
    assert_eq!(status(Failure::new(Side::Client, &[FaultCode::InvalidSoap], "x")), 400);
    assert_eq!(status(Failure::new(Side::ServerProxy, &[FaultCode::AccessDenied], "x")), 500);
    let busy = Failure::of(Side::ClientProxy, &Busy::Total).into_refusal().tell(Style::Snake);
    let answer = busy.to_rest(std::iter::empty());
    assert_eq!((answer.status, answer.headers.text("retry-after")), (503, Some("1")));
    // Faults of the SOAP edge are HTTP 200, whatever they say.
    assert_eq!(busy.to_soap().status, 200);
    assert_eq!(busy.to_soap().headers.text("soapaction"), Some(""));
}

#[test]
fn faults_of_the_other_side_pass_unchanged_unless_they_cannot() {
    let fault =
        Fault { code: "Server.ServerProxy.AccessDenied".into(), message: "no".into(), ..Fault::default() };
    let xml = Bytes::from([b"<!-- kept -->".as_slice(), &fault.to_soap()[38..]].concat());
    let told = Refusal::theirs(Side::ClientProxy, xml.clone()).tell(Style::Snake);
    assert_eq!((told.fault.code.as_str(), &told.soap), ("Server.ServerProxy.AccessDenied", &xml));

    let long = Fault { message: "x".repeat(1001), ..fault.clone() };
    let cases = [
        (long.to_soap(), "server.clientproxy.service_failed.invalid_message"),
        (b"garbage".to_vec(), "server.clientproxy.service_failed.invalid_soap"),
    ];
    for (xml, code) in cases {
        assert_eq!(Refusal::theirs(Side::ClientProxy, xml.into()).tell(Style::Snake).fault.code, code);
    }
    let odd = Fault { code: "server.x\r\nSet-Cookie: ä".into(), ..fault };
    let told = Refusal::theirs(Side::ClientProxy, odd.to_soap().into()).tell(Style::Snake);
    let answer = told.to_rest(std::iter::empty());
    let header = answer.headers.get("x-road-error").expect("the code");
    assert!(header.iter().all(|b| (b' '..0x7f).contains(b)), "{header:?}");
}

/// Recorded: a fault sent to the SOAP edge comes back under `client`, in lower case.
#[test]
fn a_fault_of_an_information_system_is_returned() {
    for (code, expected) in [("CODE", "client.code"), ("a.b", "client.a.b"), ("Client.X", "client.x")] {
        let fault = Fault { code: code.into(), ..Fault::default() };
        assert_eq!(Refusal::returned(fault).tell(Style::Snake).fault.code, expected);
    }
}
