//! The rules, in the order of `docs/differences.md`.

use super::{Ours, Rule};

const REST: &str = "1-consumer-rest";
const SOAP: &str = "2-consumer-soap";
const RIGHTS: &str = "3-access-rights";
const PORT: &str = "5-provider-port";
const PROVIDER: &str = "5b-fake-provider";

const MALFORMED_SIGNATURE: Ours =
    Ours::Gives(Some(200), Some("server.serverproxy.signature_verification.malformed_signature"), 0);
const MALFORMED_CHAIN: Ours = Ours::Gives(
    Some(200),
    Some("server.serverproxy.signature_verification.malformed_signature.malformed_hash_chain"),
    0,
);
const INVALID_MESSAGE: Ours = Ours::Gives(Some(200), Some("server.serverproxy.invalid_message"), 0);
const MISSING_FIELD: Ours = Ours::Gives(Some(200), Some("server.serverproxy.missing_header_field"), 0);
const UNTRUSTED: Ours =
    Ours::Gives(Some(500), Some("server.clientproxy.signature_verification.malformed_signature"), 0);
const INVALID_ANSWER: Ours =
    Ours::Gives(Some(500), Some("server.clientproxy.service_failed.invalid_message"), 0);
const TAKEN: Ours = Ours::Gives(Some(200), None, 0);
const SERVED: Ours = Ours::Gives(Some(200), None, 1);
const DENIED_AT_EDGE: Ours = Ours::Gives(Some(500), Some("server.serverproxy.access_denied"), 0);
const DENIED_AT_PORT: Ours = Ours::Gives(Some(200), Some("server.serverproxy.access_denied"), 0);
const SERVICE_UNREADABLE: Ours = Ours::Gives(Some(500), Some("server.serverproxy.io_error"), 1);
const BAD_STATUS: Ours = Ours::Gives(Some(500), Some("server.serverproxy.service_failed.http_error"), 1);

const fn rule(heading: &'static str, area: &'static str, ours: Ours, cases: &'static [&'static str]) -> Rule {
    Rule { heading, area, ours, cases }
}

/// All of them.
pub const RULES: &[Rule] = &[
    rule(
        "XML has no document type",
        PORT,
        MALFORMED_SIGNATURE,
        &[
            "xml-doctype",
            "xml-xxe-dtd",
            "xml-xxe-used",
            "xml-bomb",
            "xxe-dtd-empty",
            "xxe-exfil-http",
            "xxe-exfil-fault",
            "xxe-badcert",
            "xxe-listmethods",
        ],
    ),
    rule("XML has no document type", PORT, MALFORMED_CHAIN, &["chain-xxe", "chain-dtd"]),
    rule("XML has no document type", PROVIDER, UNTRUSTED, &["sig-xxe"]),
    rule(
        "A signature covers exactly the message",
        PORT,
        MALFORMED_SIGNATURE,
        &[
            "wrap-junk-first",
            "wrap-other-first",
            "ids-dup-props",
            "ref-none",
            "ref-msg-twice-wrong",
            "ref-uri-empty",
            "ref-extra-sig-object",
            "ref-count-40-same",
            "cover-att-not",
            "chain-unused",
            "chain-both",
            "chain-badchain-unused",
            "cover-body-not",
            "ok-scert-other",
        ],
    ),
    rule(
        "A signature covers exactly the message",
        PROVIDER,
        UNTRUSTED,
        &["parts-chainunused", "sig-nomsgref"],
    ),
    rule("A message is executed once", PORT, Ours::Also(|_| true), &["replay-exact"]),
    rule(
        "Access is decided on the path as it was signed",
        REST,
        SERVED,
        &["path-dots3", "path-dotdot-in-name", "path-space-enc", "path-brackets-enc"],
    ),
    rule(
        "Access is decided on the path as it was signed",
        RIGHTS,
        DENIED_AT_EDGE,
        &[
            "path-20-_pets_3Fx_1",
            "path-21-_pets_23x",
            "path-23-_pets_",
            "path-26-_pets_x_1",
            "path-29-_pets_x_2f_2f1",
            "path-72-_sp_20ace",
        ],
    ),
    rule(
        "Access is decided on the path as it was signed",
        RIGHTS,
        SERVED,
        &["path-49-_public_a_b", "path-81-_q_3Fx_1", "direct-30-_public_00_admin"],
    ),
    rule(
        "Access is decided on the path as it was signed",
        RIGHTS,
        DENIED_AT_PORT,
        &[
            "direct-00-_admin_pets",
            "direct-01-_x_pets",
            "direct-03-_pets",
            "direct-04-_h_pets_1",
            "direct-16-_pets_00",
            "direct-17-_pets_0d_0aX_Inj_201",
            "direct-19-_pets_09",
            "direct-35-_2Fh_pets",
        ],
    ),
    rule("Access is decided on the path as it was signed", PORT, SERVED, &["head-path-pctspace"]),
    rule(
        "Access is decided on the path as it was signed",
        PORT,
        Ours::But(&["request line at the service", "parts of the answer"]),
        &["head-path-dblslash"],
    ),
    rule(
        "Dot segments are refused",
        REST,
        DENIED_AT_EDGE,
        &["path-dotdot", "path-dotdot-end", "path-dot-end", "path-dotdot-encslash", "path-dotdot-allenc"],
    ),
    rule("Dot segments are refused", RIGHTS, DENIED_AT_EDGE, &["path-51-_public_x_3F_admin_secret"]),
    rule(
        "Dot segments are refused",
        RIGHTS,
        DENIED_AT_PORT,
        &[
            "direct-06-_admin_secret_pets",
            "direct-07-_admin_secret_2f_2f_2fpets",
            "direct-08-_admin_secret_2F_2e_2e_2F_2e_2",
            "direct-11-_pets_3F_admin_secret",
            "direct-12-_pets_3F_admin_secret",
            "direct-13-_pets_23_admin_secret",
            "direct-14-_public_3F_admin_secret",
            "direct-15-_public_x_23_admin_secret",
        ],
    ),
    rule(
        "Digests and signatures use SHA-2",
        PORT,
        MALFORMED_SIGNATURE,
        &["ok-alg-rsa1", "ref-digest-sha1", "ref-digest-md5"],
    ),
    rule(
        "Digests and signatures use SHA-2",
        PORT,
        INVALID_MESSAGE,
        &["h-hash-sha1", "h-hash-md5", "weakchain-sha1", "weakchain-md5"],
    ),
    rule(
        "Parts are signed without transforms",
        PORT,
        MALFORMED_SIGNATURE,
        &["tr-base64", "tr-enveloped", "tr-xslt", "tr-xpath", "tr-base64-match"],
    ),
    rule(
        "No cookie is kept",
        REST,
        Ours::Also(|ours| ours.calls.iter().all(|call| call.header("cookie").is_none())),
        &["be-cookie-otherclient"],
    ),
    rule(
        "No cookie is kept",
        REST,
        Ours::Also(|ours| {
            ours.calls.iter().all(|call| call.header("cookie").is_some_and(|c| !c.contains("session")))
        }),
        &["be-cookie-own"],
    ),
    rule("No cookie is kept", PROVIDER, Ours::Also(|_| true), &["cookie-after"]),
    rule(
        "OCSP answers are neither from the future nor contradicted",
        PORT,
        Ours::Gives(
            Some(200),
            Some("server.serverproxy.signature_verification.invalid_cert_path.incorrect_validation_info"),
            0,
        ),
        &["ocsp-sig-future"],
    ),
    rule(
        "OCSP answers are neither from the future nor contradicted",
        PORT,
        Ours::Gives(
            Some(200),
            Some("server.serverproxy.signature_verification.invalid_cert_path.cert_validation"),
            0,
        ),
        &["ocsp-sig-goodrevoked"],
    ),
    rule(
        "OCSP answers are neither from the future nor contradicted",
        PORT,
        Ours::Gives(Some(200), Some("server.serverproxy.service_failed.ssl_authentication_failed"), 0),
        &["ocsp-tls-future"],
    ),
    rule("An OCSP answer is verified before it is kept", PROVIDER, Ours::Also(|_| true), &["ocsp5577-other"]),
    rule(
        "An OCSP answer is verified before it is kept",
        PROVIDER,
        Ours::Gives(
            Some(500),
            Some("server.clientproxy.ssl_authentication_failed.invalid_cert_path.incorrect_validation_info"),
            0,
        ),
        &["ocsp5577-old", "ocsp5577-rogue"],
    ),
    rule("An OCSP answer is verified before it is kept", PROVIDER, TAKEN, &["ocsp5577-good-after"]),
    rule(
        "Identifiers are checked before the service is called",
        PORT,
        MISSING_FIELD,
        &["h-rid-missing", "head-noid", "head-id-empty"],
    ),
    rule("Identifiers are checked before the service is called", REST, SERVED, &["h-id-empty"]),
    rule("Every answer arrives", REST, SERVED, &["be-hdr-8k", "be-hdr-16k", "be-hdr-64k", "be-hdr-7800"]),
    rule("Every answer arrives", PORT, Ours::But(&["parts of the answer"]), &["v-two-requests"]),
    rule("Every answer arrives", REST, SERVICE_UNREADABLE, &["be-hdr-200k", "be-hdr-2000"]),
    rule("Every answer arrives", PROVIDER, TAKEN, &["hdr-big-9000"]),
    rule("Every answer arrives", PROVIDER, INVALID_ANSWER, &["fault-long"]),
    rule(
        "Statuses are those from 200 to 599",
        REST,
        BAD_STATUS,
        &["be-st600", "be-st699", "be-st999", "be-st099"],
    ),
    rule("Statuses are those from 200 to 599", REST, SERVICE_UNREADABLE, &["be-st1000"]),
    rule("Statuses are those from 200 to 599", PROVIDER, INVALID_ANSWER, &["st-100", "st-101", "st-999"]),
    rule(
        "Header lines have one form",
        PORT,
        INVALID_MESSAGE,
        &[
            "head-lf",
            "head-cr-inject",
            "head-cr-inject-client",
            "head-hdr-ctl",
            "head-hdr-name-space",
            "head-hdr-emptyname",
        ],
    ),
    rule(
        "Header lines have one form",
        REST,
        SERVICE_UNREADABLE,
        &["be-hdr-ctl", "be-hdr-nul", "be-hdr-barecr"],
    ),
    rule(
        "Header lines have one form",
        PROVIDER,
        INVALID_ANSWER,
        &[
            "reason-cr",
            "hdr-cr-inject",
            "hdr-nul",
            "hdr-ctl",
            "hdr-name-space",
            "hdr-name-utf8",
            "hdr-emptyname",
            "head-lf",
        ],
    ),
    rule(
        "An answer without a body says no length",
        REST,
        Ours::Also(|ours| {
            ours.answer.as_ref().is_some_and(|answer| answer.header("content-length") != Some("0"))
        }),
        &["method-head"],
    ),
    rule("Reserved headers belong to security servers", REST, SERVED, &["be-xroad-spoof"]),
    rule(
        "Reserved headers belong to security servers",
        REST,
        Ours::But(&["headers of the answer"]),
        &["be-xroad-spoof-lc"],
    ),
    rule(
        "Reserved headers belong to security servers",
        REST,
        Ours::But(&["headers at the service"]),
        &["client-twice-other-last"],
    ),
    rule("Reserved headers belong to security servers", PROVIDER, TAKEN, &["hdr-err"]),
    rule(
        "A signed body is delivered",
        REST,
        Ours::But(&["body at the service", "body of the answer"]),
        &["body-delete", "body-get", "body-head", "body-options", "fr-get-chunked"],
    ),
    rule(
        "A signed body is delivered",
        REST,
        Ours::Gives(Some(500), Some("server.clientproxy.invalid_http_method"), 0),
        &["body-trace"],
    ),
    rule(
        "A signed body is delivered",
        PORT,
        Ours::But(&["body at the service", "parts of the answer"]),
        &["ok-rest-get-body"],
    ),
    rule(
        "Disabled is disabled",
        SOAP,
        Ours::But(&["SOAP body"]),
        &["meta-listmethods", "meta-allowed", "meta-listmethods-ver"],
    ),
    rule("Disabled is disabled", PORT, Ours::But(&["parts of the answer"]), &["meta-listmethods"]),
    rule(
        "Disabled is disabled",
        REST,
        Ours::Gives(Some(500), Some("server.serverproxy.service_disabled"), 0),
        &["svc-disabled-nonotice"],
    ),
    rule("Hash chains are bounded", PORT, MALFORMED_CHAIN, &["chain-loop"]),
    rule(
        "A service URL is read once",
        REST,
        Ours::But(&["request line at the service", "body of the answer"]),
        &["path-qbase-none"],
    ),
    rule(
        "A service URL is read once",
        REST,
        Ours::Gives(Some(500), Some("server.serverproxy.service_malformed_url"), 0),
        &["svc-backend-ftp"],
    ),
    rule("HTTP is read strictly", REST, Ours::Gives(Some(505), None, 0), &["httplower"]),
    rule("HTTP is read strictly", REST, Ours::Gives(Some(400), None, 0), &["hdr-lf", "fr-te-http10"]),
    rule(
        "HTTP is read strictly",
        REST,
        Ours::Gives(Some(500), Some("server.clientproxy.io_error"), 0),
        &["fr-ch-lf"],
    ),
    rule("HTTP is read strictly", REST, SERVICE_UNREADABLE, &["be-cl-two-diff", "be-cl-neg", "be-cl-abc"]),
    rule("HTTP is read strictly", PORT, Ours::Gives(Some(400), None, 0), &["v-http10-chunked"]),
    rule(
        "Any target will do between security servers",
        PORT,
        SERVED,
        &["p-dotdot", "p-abs", "p-star", "p-enc"],
    ),
    rule(
        "What is wrong with a request is the client's to hear",
        SOAP,
        Ours::Gives(Some(200), Some("client.invalid_content_type"), 0),
        &["ct-empty", "ct-cs-unknown", "ct-cs-empty"],
    ),
    rule(
        "What is wrong with a request is the client's to hear",
        PORT,
        Ours::Gives(Some(200), Some("server.serverproxy.service_failed.invalid_content_type"), 0),
        &["mime-noct"],
    ),
    rule("Any text can be logged", SOAP, SERVED, &["enc-utf16-asutf8"]),
    rule("Any text can be logged", PORT, SERVED, &["soap-utf16"]),
    rule("A SOAP answer keeps its encoding", SOAP, SERVED, &["be-utf16", "be-latin1"]),
    rule(
        "Attachments are announced by their type",
        PORT,
        Ours::Gives(Some(200), Some("server.serverproxy.service_failed.invalid_content_type"), 0),
        &["ok-soap-att-chain", "ok-soap-att-refs", "h-soap-oct-inject", "ref-count-29"],
    ),
    rule(
        "Attachments are announced by their type",
        PORT,
        Ours::But(&["headers at the service", "body at the service"]),
        &["h-soap-oct-mp-nobd"],
    ),
    rule(
        "Attachments are announced by their type",
        SOAP,
        Ours::Gives(Some(200), Some("Server.MyOwn"), 1),
        &["be-mpfault"],
    ),
    rule("Part headers keep their order", SOAP, Ours::But(&["body at the service"]), &["mp-att-qp"]),
    rule(
        "A SOAP answer keeps its encoding",
        SOAP,
        Ours::But(&["SOAP body", "headers of the answer"]),
        &["be-latin1mis", "be-ctupper"],
    ),
    rule(
        "A message that is cut off is none",
        PORT,
        Ours::Gives(Some(200), Some("server.serverproxy.io_error"), 0),
        &["mime-nofinal", "mime-trunc-sig"],
    ),
    rule(
        "A message that is cut off is none",
        PROVIDER,
        Ours::Gives(Some(500), Some("server.clientproxy.io_error"), 0),
        &["ok-nofinal"],
    ),
    rule("Names of headers have no case", PROVIDER, TAKEN, &["h-hash-mixed"]),
    rule(
        "A status goes by the code in either spelling",
        PROVIDER,
        Ours::Gives(Some(500), Some("Server.ServerProxy.AccessDenied"), 0),
        &["fault-old"],
    ),
    rule(
        "A stalled request is an I/O error",
        SOAP,
        Ours::Gives(Some(200), Some("server.clientproxy.io_error"), 0),
        &["slow-30"],
    ),
];
