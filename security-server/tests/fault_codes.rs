//! Every fault code of the reference: which test draws it from ours, or why ours never says it.
//!
//! The list of codes is read from the vectors (`error-codes.json`), so that a code that is in no group fails here, as does a group that
//! names a code that there is not, a probe that drew another code, or a test that does not speak of it.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use testkit::vectors::{self, Tally};

/// Where a code comes up, or why not.
#[derive(Clone, Copy, Debug)]
enum Why {
    /// Recorded probes that `probes.rs` plays: each code with the area and a case that drew it.
    Probe(&'static str),
    /// A test in this file says the code, or names the error that stands for it.
    Test(&'static str, &'static str),
    /// It does not come up here.
    Never(&'static str),
}

use Why::{Never, Probe, Test};

/// The word to look for in a test is the code itself.
const CODE: &str = "";

const REST: &str = "1-consumer-rest";
const SOAP: &str = "2-consumer-soap";
const PORT: &str = "5-provider-port";
const PROVIDER: &str = "5b-fake-provider";

const REFUSALS: &str = "security-server/tests/refusals.rs";
const CONFIGURATION: &str = "security-server/src/configuration_client/tests.rs";
const DIRECTORY: &str = "proto/src/globalconf/tests.rs";

const MANAGEMENT: Why =
    Never("a code of the management APIs, which have tests of their own; no message draws it");
const SIGNER: Why =
    Never("the reference's signer says it to its own administration; a message sees cannot_create_signature");
const STAMPING: Why = Never(
    "a step of timestamping, which runs beside the traffic: our log has the reason in words, and messages see timestamping_failed",
);
const OLD: Why =
    Never("no message and no proxy draws it; releases before 7.8 had constants that nothing raised");

const CODES: &[(Why, &[&str])] = &[
    (
        Probe(REST),
        &[
            "internal_error method-x-PROPFIND",
            "invalid_http_method options-star",
            "unknown_service path-slash-svc",
            "access_denied path-dotdot-up",
            "service_failed path-query-brackets",
            "invalid_client_identifier client-missing",
            "unknown_member client-3seg-unknown",
            "maintenance_mode svc-maintenance",
            "service_disabled svc-disabled",
            "network_error svc-backend-down",
            "unknown_host svc-backend-unkhost",
            "service_missing_url svc-backend-nourl",
            "ssl_authentication_failed svc-tls-bad",
            "io_error h-id-long",
            "invalid_security_server h-x-ss-unknown",
            "server.clientproxy client-missing",
            "server.serverproxy path-slash-svc",
        ],
    ),
    (
        Probe(SOAP),
        &[
            "invalid_content_type ct-plain",
            "invalid_soap_action sa-unquoted",
            "invalid_soap enc-latin1-nodecl",
            "missing_header h-none",
            "duplicate_header_field h-twice",
            "missing_header_field h-no-proto",
            "invalid_protocol_version h-proto-31",
            "invalid_xml h-central-type",
            "database_error h-id-long",
            "logging_failed h-id-long",
            "service_type svc-rest-svc",
            "invalid_body b-empty",
            "inconsistent_headers b-mismatch",
            "missing_body b-none",
            "missing_soap mp-ct-bd-empty",
            "http_error be-http404soap",
            "inconsistent_response be-otherclient",
            "client ct-plain",
        ],
    ),
    (
        Probe(PORT),
        &[
            "malformed_signature time-garbage",
            "signature_verification time-garbage",
            "invalid_reference order-no-body",
            "invalid_message order-sig-before-chain",
            "missing_signature part-fault-as-sig",
            "mime_parsing_failed hdr-line-5000",
            "incorrect_certificate head-client-other-member",
            "invalid_signature_value sig-props-digest",
            "cannot_create_cert_path cert-sign-1111-expired",
            "incorrect_validation_info ocsp-sig-old11y",
            "invalid_cert_path ocsp-sig-old11y",
            "cert_validation ocsp-sig-revoked",
            "invalid_hash_chain chain-root-wrong",
            "hashchain_unused_inputs chain-body-missing",
            "malformed_hash_chain chain-uri-other",
        ],
    ),
    (Probe(PROVIDER), &["missing_rest parts-empty"]),
    (
        Test(REFUSALS, CODE),
        &["cannot_create_signature", "global_conf_outdated", "mlog.no_timestamping_provider_found"],
    ),
    (Test("security-server/tests/peers.rs", CODE), &["client_proxy_version_not_supported"]),
    (Test("security-server/tests/probed/rules/table.rs", CODE), &["service_malformed_url"]),
    (Test("security-server/src/faults/tests.rs", CODE), &["timestamping_failed"]),
    (Test("pki/tests/vectors_hashchain.rs", "hashchain"), &["invalid_hash_chain_ref"]),
    (
        Test("pki/src/asic/tests.rs", CODE),
        &[
            "asic_hash_chain_not_found",
            "asic_hash_chain_result_not_found",
            "asic_invalid_container",
            "asic_invalid_mime_type",
            "asic_manifest_not_found",
            "asic_message_not_found",
            "asic_mime_type_not_found",
            "asic_signature_not_found",
            "asic_timestamp_not_found",
        ],
    ),
    (
        Test(CONFIGURATION, CODE),
        &[
            "anchor_file_not_found",
            "malformed_anchor",
            "malformed_global_conf",
            "global_conf_download_url_connection_failure",
            "global_conf_get_version_failed",
            "global_conf_header_field_wrong_value",
            "global_conf_missing_verification_cert",
            "global_conf_part_download_failure",
            "global_conf_part_downloaded_file_integrity_failure",
            "global_conf_part_downloaded_hash_failure",
            "global_conf_part_invalid_instance_identifier",
            "global_conf_signature_verification_failure",
        ],
    ),
    (Test(DIRECTORY, "FieldMissing"), &["global_conf_header_field_missing"]),
    (Test(DIRECTORY, "ParameterMissing"), &["global_conf_header_field_missing_parameter"]),
    (Test(DIRECTORY, "NoSignedData"), &["global_conf_missing_signed_data"]),
    (Test(DIRECTORY, "NoSignature"), &["global_conf_missing_signed_data_expiration_date"]),
    (Test(DIRECTORY, "Mime("), &["global_conf_parsing_downloaded_conf_directory_failure"]),
    (Test(DIRECTORY, "SignatureEncoding"), &["global_conf_signature_decode_failure"]),
    (
        Test("central-server/src/configuration_source/tests.rs", "optional_parts::read"),
        &["malformed_optional_parts_conf"],
    ),
    (
        Never(
            "a disk that fails under the configuration client: shown to the administrator, and the last configuration stays",
        ),
        &[
            "failed_to_save_instance_identifier",
            "global_conf_part_file_expiration_date_update_failure",
            "global_conf_part_file_hash_failure",
            "global_conf_part_file_save_failure",
        ],
    ),
    (
        Never("an anchor without a location that can be asked: refused when it is read"),
        &["conf_download.invalid_download_url_format", "conf_download_failed"],
    ),
    (Never("keys in hardware modules are no part of this release"), &["hsm_non_operational"]),
    (Never("operational monitoring is no part of this release"), &["server.serverproxy.opmonitor"]),
    (
        Never("settings and state that cannot be used keep the server from starting"),
        &["malformed_server_conf", "malformed_key_conf"],
    ),
    (
        OLD,
        &[
            "adapter_wsdl_not_found",
            "bad_request",
            "cert_validity_time",
            "invalid_request",
            "invalid_response",
            "invalid_rest",
            "malformed_soap",
            "missing_validation_info",
            "not_found",
            "timestamp_validation",
            "timestamper_failed",
            "unsupported_algorithm",
        ],
    ),
    (
        SIGNER,
        &[
            "signer",
            "cannot_find_member",
            "cannot_get_member_id_from_certificate",
            "cannot_sign",
            "cert_exists",
            "cert_import_failed",
            "cert_not_found",
            "csr_not_found",
            "failed_to_delete_key",
            "failed_to_generate_certificate_request",
            "failed_to_generate_private_key",
            "failed_to_generate_public_key",
            "key_not_available",
            "key_not_found",
            "login_failed",
            "logout_failed",
            "ocsp_connection_error",
            "ocsp_failed",
            "ocsp_response_parsing_failure",
            "ocsp_response_verification_failure",
            "pin_incorrect",
            "token_not_active",
            "token_not_available",
            "token_not_found",
            "token_not_initialized",
            "token_pin_policy_failure",
            "token_readonly",
            "unsupported_sign_algorithm",
            "wrong_cert_usage",
        ],
    ),
    (
        STAMPING,
        &[
            "mlog.adding_signature_to_ts_token_failed",
            "mlog.calculating_message_digest_failed",
            "mlog.failed_to_build_signature_hash_chain",
            "mlog.failed_to_prepare_signature_data",
            "mlog.log_manager_unavailable",
            "mlog.malformed_timestamp_server_url",
            "mlog.message_log_record_not_found",
            "mlog.no_log_records_specified",
            "mlog.no_signature_hashes_specified",
            "mlog.reading_timestamp_response_failed",
            "mlog.timestamp_non_granted_response",
            "mlog.timestamp_provider_connection_failed",
            "mlog.timestamp_record_save_failure",
            "mlog.timestamp_request_timed_out",
            "mlog.timestamp_response_object_creation_failed",
            "mlog.timestamp_response_validation_failed",
            "mlog.timestamp_signer_verification_failed",
            "mlog.timestamp_token_encoding_failed",
            "mlog.timestamp_token_signer_info_not_found",
            "mlog.timestamping_non_ok_response",
            "mlog.tsp_certificate_not_found",
            "mlog.updating_message_signature_failed",
        ],
    ),
    (
        MANAGEMENT,
        &[
            "action_not_possible",
            "api_key_not_found",
            "backup_deletion_failed",
            "backup_file_not_found",
            "backup_generation_failed",
            "backup_restore_interrupted",
            "certificate_authority_not_found",
            "client_not_found",
            "conf_verification.anchor_not_for_external_source",
            "conf_verification.missing_private_params",
            "conf_verification.other",
            "conf_verification.outdated",
            "conf_verification.signature_invalid",
            "conf_verification.unreachable",
            "cryptography_error",
            "double_file_extension",
            "duplicate_entry",
            "email_sending_error",
            "endpoint_not_found",
            "generate_backup_interrupted",
            "gpg_key_generation_failed",
            "id_not_a_number",
            "initialization_interrupted",
            "invalid_address_char",
            "invalid_backup_file",
            "invalid_certificate",
            "invalid_characters",
            "invalid_client_name",
            "invalid_distinguished_name",
            "invalid_encoded_id",
            "invalid_file_content_type",
            "invalid_file_extension",
            "invalid_filename",
            "invalid_parameters",
            "invalid_pem_csr",
            "invalid_role",
            "invalid_url",
            "key_and_cert_generation_failed",
            "management_request_failed",
            "management_request_sending_failed",
            "member_class_exists",
            "openapi_file_error",
            "resource_read_failed",
            "restore_process_failed",
            "security_server_not_found",
            "service_not_found",
            "timestamping_service_not_found",
            "token_fetch_failed",
            "token_weak_pin",
            "validation_error",
        ],
    ),
];

/// What the reference can say.
fn all(list: &Value) -> BTreeSet<String> {
    let constants = list["codes"].as_array().unwrap().iter().map(|code| &code["since_7_8"]);
    let values = list["enum_7_8"].as_object().unwrap().values();
    constants.chain(values).filter_map(|code| code.as_str().map(str::to_owned)).collect()
}

#[test]
fn every_code_is_drawn_or_has_a_reason() {
    let Some(dir) = vectors::dir() else { return drop(vectors::area("error-codes")) };
    let list: Value = serde_json::from_slice(&std::fs::read(dir.join("error-codes.json")).unwrap()).unwrap();
    let mut groups: BTreeMap<&str, (Why, &str)> = BTreeMap::new();
    for (why, entries) in CODES {
        for entry in *entries {
            let (code, case) = entry.split_once(' ').unwrap_or((entry, ""));
            assert!(groups.insert(code, (*why, case)).is_none(), "{code} is there twice");
        }
    }
    let codes = all(&list);
    let mut tally = Tally::new("error codes");
    for code in &codes {
        match groups.remove(&code[..]) {
            None => tally.fail(code, "is in no group"),
            Some((Probe(area), case)) => tally.ok(code, drawn_by_probe(&dir, area, case, code)),
            Some((Test(file, word), _)) => {
                tally.ok(code, said_by_test(file, if word.is_empty() { code } else { word }))
            }
            Some((Never(reason), _)) => tally.not_applicable(reason),
        }
    }
    // Constants that 7.8 has given up are here for the readers of older logs.
    let left: Vec<&&str> =
        groups.iter().filter(|(_, (why, _))| !matches!(why, Never(_))).map(|(code, _)| code).collect();
    assert!(left.is_empty(), "no code of the reference: {left:?}");
    tally.finish();
}

fn drawn_by_probe(dir: &Path, area: &str, case: &str, code: &str) -> Result<(), String> {
    let file =
        std::fs::read(dir.join("probes").join(area).join("expected.json")).map_err(|e| e.to_string())?;
    let expected: Value = serde_json::from_slice(&file).map_err(|e| e.to_string())?;
    let found =
        expected["cases"].as_array().and_then(|cases| cases.iter().find(|found| found["name"] == case));
    let drawn = found
        .and_then(|case| case["fault"]["code"].as_str())
        .ok_or(format!("{case} is no case with a fault"))?;
    match format!(".{drawn}.").contains(&format!(".{code}.")) {
        true => Ok(()),
        false => Err(format!("{case} drew {drawn}")),
    }
}

fn said_by_test(file: &str, word: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = std::fs::read_to_string(path).map_err(|e| format!("{file}: {e}"))?;
    if text.contains(word) { Ok(()) } else { Err(format!("{file} does not say {word}")) }
}
