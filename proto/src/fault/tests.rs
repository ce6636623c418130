//! Each form and rule, with its near misses.
use super::*;
use crate::xml;

#[test]
fn codes_are_written_in_either_style() {
    let path = [FaultCode::ServiceFailed, FaultCode::InvalidSoap];
    let fault = |style| Fault::new(Side::ClientProxy, &path, "m", "d", style).code;
    assert_eq!(fault(Style::Snake), "server.clientproxy.service_failed.invalid_soap");
    assert_eq!(fault(Style::Camel), "Server.ClientProxy.ServiceFailed.InvalidSoap");
    let twice =
        Fault::new(Side::Client, &[FaultCode::ServiceFailed, FaultCode::ServiceFailed], "", "", Style::Snake);
    assert_eq!(twice.code, "client.service_failed");
    assert_eq!(Fault::new(Side::Signer, &[], "", "", Style::Snake).code, "signer");
}

#[test]
fn codes_are_known_in_both_spellings() {
    use FaultCode::*;
    let cases: &[(&str, Option<Side>, &[FaultCode])] = &[
        ("server.serverproxy.access_denied", Some(Side::ServerProxy), &[AccessDenied]),
        ("Server.ServerProxy.AccessDenied", Some(Side::ServerProxy), &[AccessDenied]),
        ("Server.ClientProxy.OutdatedGlobalConf", Some(Side::ClientProxy), &[GlobalConfOutdated]),
        ("server.serverproxy.opmonitor.internal_error", Some(Side::OpMonitor), &[InternalError]),
        (
            "server.clientproxy.ssl_authentication_failed.invalid_cert_path.cert_validation",
            Some(Side::ClientProxy),
            &[SslAuthenticationFailed, InvalidCertPath, CertValidation],
        ),
        (
            "server.clientproxy.logging_failed.mlog.timestamp_request_timed_out",
            Some(Side::ClientProxy),
            &[LoggingFailed, MlogTimestampRequestTimedOut],
        ),
        ("Client.InvalidSoapAction", Some(Side::Client), &[InvalidSoapAction]),
        ("Client.NetworkError", Some(Side::Client), &[NetworkError]),
        ("Signer.HSMNonOperational", Some(Side::Signer), &[HsmNonOperational]),
        ("client", Some(Side::Client), &[]),
        ("clientele.io_error", None, &[IoError]),
        ("soap:Server", None, &[]),
        ("server.serverproxy.made_up.access_denied", Some(Side::ServerProxy), &[AccessDenied]),
        ("", None, &[]),
    ];
    for (text, side, codes) in cases {
        assert_eq!(known_codes(text), (*side, codes.to_vec()), "{text}");
    }
}

#[test]
fn every_code_is_read_back() {
    for code in FaultCode::ALL {
        let [snake, camel] = code.spellings();
        assert_eq!(FaultCode::from_text(snake), Some(*code));
        let borrowed = ["InternalError", "NetworkError"].contains(&camel);
        assert!(borrowed || FaultCode::from_text(camel) == Some(*code), "{camel}");
    }
}

#[test]
fn a_fault_is_read_back_from_soap() {
    let fault = Fault {
        code: "server.x<&>".into(),
        message: "a \"b\" \r\n\tc\u{e4}".into(),
        actor: "".into(),
        detail: "id".into(),
    };
    let xml = fault.to_soap();
    assert!(xml::check(&xml, &Limits::default()).is_ok());
    assert_eq!(Fault::from_soap(&xml), Some(fault));
}

#[test]
fn faults_of_others_are_read_by_local_name() {
    let soap = |inner: &str| {
        format!(
            "<e:Envelope xmlns:e='{ENVELOPE_NS}'><e:Header><e:Fault/></e:Header><e:Body>{inner}</e:Body></e:Envelope>"
        )
    };
    let cases = [
        ("<e:Fault><faultcode>c</faultcode><faultstring>s</faultstring></e:Fault>", Some(("c", "s", ""))),
        (
            "<e:Fault><x:faultcode xmlns:x='u'>c<!-- -->&amp;d</x:faultcode><faultstring><b>no</b>s</faultstring></e:Fault>",
            Some(("c&d", "s", "")),
        ),
        (
            "<e:Fault><faultDetail>no</faultDetail><detail>x<faultDetail>d<y>z</y></faultDetail>y</detail></e:Fault>",
            Some(("", "", "d")),
        ),
        ("<e:Fault><detail>x<b>y</b></detail></e:Fault>", Some(("", "", "x"))),
        (
            "<e:Fault><faultcode>c</faultcode></e:Fault><e:Fault><faultcode>d</faultcode></e:Fault>",
            Some(("c", "", "")),
        ),
        ("<e:Fault/>", Some(("", "", ""))),
        ("<Fault><faultcode>c</faultcode></Fault>", None),
        ("<a><e:Fault/></a>", None),
        ("", None),
    ];
    for (inner, expected) in cases {
        let found = Fault::from_soap(soap(inner).as_bytes());
        let expected = expected.map(|(code, message, detail): (&str, &str, &str)| Fault {
            code: code.into(),
            message: message.into(),
            actor: String::new(),
            detail: detail.into(),
        });
        assert_eq!(found, expected, "{inner}");
    }
    assert_eq!(Fault::from_soap(b"<a/>"), None);
    assert_eq!(Fault::from_soap(b"\xff"), None);
}

#[test]
fn rest_bodies_have_the_recorded_form() {
    let fault =
        Fault::new(Side::ServerProxy, &[FaultCode::AccessDenied], "no \"right\" <", "d", Style::Snake);
    assert_eq!(
        fault.to_json(),
        br#"{"type":"server.serverproxy.access_denied","message":"no \"right\" <","detail":"d"}"#
    );
    let xml = r#"<?xml version="1.0" encoding="UTF-8" standalone="no"?><error><type>server.serverproxy.access_denied</type><message>no "right" &lt;</message><detail>d</detail></error>"#;
    assert_eq!(String::from_utf8_lossy(&fault.to_xml()), xml);
}

#[test]
fn the_status_follows_the_prefix() {
    for (code, status) in
        [("server.x", 500), ("Server.X", 500), ("client.x", 400), ("Client.X", 400), ("servers", 400)]
    {
        assert_eq!(Fault { code: code.into(), ..Fault::default() }.rest_status(), status, "{code}");
    }
    assert!(Fault { message: "ä".repeat(1000), ..Fault::default() }.is_reasonable());
    assert!(!Fault { code: "a".repeat(1001), ..Fault::default() }.is_reasonable());
}
