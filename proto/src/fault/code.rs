//! The table of fault codes, in the spelling of 7.8 and in the one before it.
//!
//! A code that earlier releases did not have is written to them as what they would have said: mostly `InternalError`.
use super::{Side, Style};

macro_rules! codes {
    ($($name:ident, $snake:literal, $camel:literal;)*) => {
        /// One part of a fault code after the side. Some parts have a dot of their own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum FaultCode {
            $(#[doc = concat!("`", $snake, "`; to 7.7 `", $camel, "`.")] $name,)*
        }

        impl FaultCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As written from 7.8, and as written to 7.7.
            pub const fn spellings(self) -> [&'static str; 2] {
                match self {
                    $(Self::$name => [$snake, $camel],)*
                }
            }
        }
    };
}

// In each group by name. The first code with a spelling is the one it is read as, so `InternalError` and `NetworkError` come
// before those that borrow theirs.
codes! {
    // Messages between servers and at their edges.
    AccessDenied, "access_denied", "AccessDenied";
    AdapterWsdlNotFound, "adapter_wsdl_not_found", "AdapterWsdlNotFound";
    BadRequest, "bad_request", "BadRequest";
    CannotCreateCertPath, "cannot_create_cert_path", "CannotCreateCertPath";
    CannotCreateSignature, "cannot_create_signature", "CannotCreateSignature";
    CertValidation, "cert_validation", "CertValidation";
    CertValidityTime, "cert_validity_time", "CertValidityTime";
    ClientProxyVersionNotSupported, "client_proxy_version_not_supported", "ClientProxyVersionNotSupported";
    DatabaseError, "database_error", "DatabaseError";
    DuplicateHeaderField, "duplicate_header_field", "DuplicateHeaderField";
    HashchainUnusedInputs, "hashchain_unused_inputs", "HashChainUnusedInputs";
    HsmNonOperational, "hsm_non_operational", "HSMNonOperational";
    HttpError, "http_error", "HttpError";
    InconsistentHeaders, "inconsistent_headers", "InconsistentHeaders";
    InconsistentResponse, "inconsistent_response", "InconsistentResponse";
    IncorrectCertificate, "incorrect_certificate", "IncorrectCertificate";
    IncorrectValidationInfo, "incorrect_validation_info", "IncorrectValidationInfo";
    InternalError, "internal_error", "InternalError";
    InvalidBody, "invalid_body", "InvalidBody";
    InvalidCertPath, "invalid_cert_path", "InvalidCertPath";
    InvalidClientIdentifier, "invalid_client_identifier", "InvalidClientIdentifier";
    InvalidContentType, "invalid_content_type", "InvalidContentType";
    InvalidHashChain, "invalid_hash_chain", "InvalidHashChain";
    InvalidHashChainRef, "invalid_hash_chain_ref", "InvalidHashChainRef";
    InvalidHttpMethod, "invalid_http_method", "InvalidHttpMethod";
    InvalidMessage, "invalid_message", "InvalidMessage";
    InvalidProtocolVersion, "invalid_protocol_version", "InvalidProtocolVersion";
    InvalidReference, "invalid_reference", "InvalidReference";
    InvalidRequest, "invalid_request", "InvalidRequest";
    InvalidResponse, "invalid_response", "InvalidResponse";
    InvalidRest, "invalid_rest", "InvalidRest";
    InvalidSecurityServer, "invalid_security_server", "InvalidSecurityServer";
    InvalidSignatureValue, "invalid_signature_value", "InvalidSignatureValue";
    InvalidSoap, "invalid_soap", "InvalidSoap";
    InvalidSoapAction, "invalid_soap_action", "InvalidSoapAction";
    InvalidXml, "invalid_xml", "InvalidXml";
    IoError, "io_error", "IOError";
    MaintenanceMode, "maintenance_mode", "MaintenanceMode";
    MalformedHashChain, "malformed_hash_chain", "MalformedHashChain";
    MalformedServerConf, "malformed_server_conf", "MalformedServerConf";
    MalformedSignature, "malformed_signature", "MalformedSignature";
    MalformedSoap, "malformed_soap", "MalformedSoap";
    MimeParsingFailed, "mime_parsing_failed", "MimeParsingFailed";
    MissingBody, "missing_body", "MissingBody";
    MissingHeader, "missing_header", "MissingHeader";
    MissingHeaderField, "missing_header_field", "MissingHeaderField";
    MissingRest, "missing_rest", "MissingRest";
    MissingSignature, "missing_signature", "MissingSignature";
    MissingSoap, "missing_soap", "MissingSoap";
    MissingValidationInfo, "missing_validation_info", "MissingValidationInfo";
    NetworkError, "network_error", "NetworkError";
    NotFound, "not_found", "NotFound";
    ServiceDisabled, "service_disabled", "ServiceDisabled";
    ServiceFailed, "service_failed", "ServiceFailed";
    ServiceMalformedUrl, "service_malformed_url", "ServiceMalformedUrl";
    ServiceMissingUrl, "service_missing_url", "ServiceMissingUrl";
    ServiceType, "service_type", "ServiceType";
    SignatureVerification, "signature_verification", "SignatureVerification";
    SslAuthenticationFailed, "ssl_authentication_failed", "SslAuthenticationFailed";
    TimestampValidation, "timestamp_validation", "TimestampValidation";
    UnknownHost, "unknown_host", "NetworkError";
    UnknownMember, "unknown_member", "UnknownMember";
    UnknownService, "unknown_service", "UnknownService";
    // Message log.
    LoggingFailed, "logging_failed", "LoggingFailed";
    MlogAddingSignatureToTsTokenFailed, "mlog.adding_signature_to_ts_token_failed", "InternalError";
    MlogCalculatingMessageDigestFailed, "mlog.calculating_message_digest_failed", "InternalError";
    MlogFailedToBuildSignatureHashChain, "mlog.failed_to_build_signature_hash_chain", "InternalError";
    MlogFailedToPrepareSignatureData, "mlog.failed_to_prepare_signature_data", "InternalError";
    MlogLogManagerUnavailable, "mlog.log_manager_unavailable", "InternalError";
    MlogMalformedTimestampServerUrl, "mlog.malformed_timestamp_server_url", "InternalError";
    MlogMessageLogRecordNotFound, "mlog.message_log_record_not_found", "InternalError";
    MlogNoLogRecordsSpecified, "mlog.no_log_records_specified", "InternalError";
    MlogNoSignatureHashesSpecified, "mlog.no_signature_hashes_specified", "InternalError";
    MlogNoTimestampingProviderFound, "mlog.no_timestamping_provider_found", "InternalError";
    MlogReadingTimestampResponseFailed, "mlog.reading_timestamp_response_failed", "InternalError";
    MlogTimestampNonGrantedResponse, "mlog.timestamp_non_granted_response", "InternalError";
    MlogTimestampProviderConnectionFailed, "mlog.timestamp_provider_connection_failed", "InternalError";
    MlogTimestampRecordSaveFailure, "mlog.timestamp_record_save_failure", "InternalError";
    MlogTimestampRequestTimedOut, "mlog.timestamp_request_timed_out", "InternalError";
    MlogTimestampResponseObjectCreationFailed, "mlog.timestamp_response_object_creation_failed", "InternalError";
    MlogTimestampResponseValidationFailed, "mlog.timestamp_response_validation_failed", "InternalError";
    MlogTimestampSignerVerificationFailed, "mlog.timestamp_signer_verification_failed", "InternalError";
    MlogTimestampTokenEncodingFailed, "mlog.timestamp_token_encoding_failed", "InternalError";
    MlogTimestampTokenSignerInfoNotFound, "mlog.timestamp_token_signer_info_not_found", "InternalError";
    MlogTimestampingNonOkResponse, "mlog.timestamping_non_ok_response", "InternalError";
    MlogTspCertificateNotFound, "mlog.tsp_certificate_not_found", "InternalError";
    MlogUpdatingMessageSignatureFailed, "mlog.updating_message_signature_failed", "InternalError";
    TimestamperFailed, "timestamper_failed", "TimestamperFailed";
    TimestampingFailed, "timestamping_failed", "TimestampingFailed";
    // Containers.
    AsicHashChainNotFound, "asic_hash_chain_not_found", "AsicHashChainNotFound";
    AsicHashChainResultNotFound, "asic_hash_chain_result_not_found", "AsicHashChainResultNotFound";
    AsicInvalidContainer, "asic_invalid_container", "AsicInvalidContainer";
    AsicInvalidMimeType, "asic_invalid_mime_type", "AsicInvalidMimeType";
    AsicManifestNotFound, "asic_manifest_not_found", "AsicManifestNotFound";
    AsicMessageNotFound, "asic_message_not_found", "AsicMessageNotFound";
    AsicMimeTypeNotFound, "asic_mime_type_not_found", "AsicMimeTypeNotFound";
    AsicSignatureNotFound, "asic_signature_not_found", "AsicSignatureNotFound";
    AsicTimestampNotFound, "asic_timestamp_not_found", "AsicTimestampNotFound";
    // Global configuration.
    AnchorFileNotFound, "anchor_file_not_found", "InternalError";
    ConfDownloadInvalidDownloadUrlFormat, "conf_download.invalid_download_url_format", "InternalError";
    ConfDownloadFailed, "conf_download_failed", "InternalError";
    ConfVerificationAnchorNotForExternalSource, "conf_verification.anchor_not_for_external_source", "InternalError";
    ConfVerificationMissingPrivateParams, "conf_verification.missing_private_params", "InternalError";
    ConfVerificationOther, "conf_verification.other", "InternalError";
    ConfVerificationOutdated, "conf_verification.outdated", "InternalError";
    ConfVerificationSignatureInvalid, "conf_verification.signature_invalid", "InternalError";
    ConfVerificationUnreachable, "conf_verification.unreachable", "InternalError";
    FailedToSaveInstanceIdentifier, "failed_to_save_instance_identifier", "InternalError";
    GlobalConfDownloadUrlConnectionFailure, "global_conf_download_url_connection_failure", "InternalError";
    GlobalConfGetVersionFailed, "global_conf_get_version_failed", "InternalError";
    GlobalConfHeaderFieldMissing, "global_conf_header_field_missing", "InternalError";
    GlobalConfHeaderFieldMissingParameter, "global_conf_header_field_missing_parameter", "InternalError";
    GlobalConfHeaderFieldWrongValue, "global_conf_header_field_wrong_value", "InternalError";
    GlobalConfMissingSignedData, "global_conf_missing_signed_data", "InternalError";
    GlobalConfMissingSignedDataExpirationDate, "global_conf_missing_signed_data_expiration_date", "InternalError";
    GlobalConfMissingVerificationCert, "global_conf_missing_verification_cert", "InternalError";
    GlobalConfOutdated, "global_conf_outdated", "OutdatedGlobalConf";
    GlobalConfParsingDownloadedConfDirectoryFailure, "global_conf_parsing_downloaded_conf_directory_failure", "InternalError";
    GlobalConfPartDownloadFailure, "global_conf_part_download_failure", "InternalError";
    GlobalConfPartDownloadedFileIntegrityFailure, "global_conf_part_downloaded_file_integrity_failure", "InternalError";
    GlobalConfPartDownloadedHashFailure, "global_conf_part_downloaded_hash_failure", "InternalError";
    GlobalConfPartFileExpirationDateUpdateFailure, "global_conf_part_file_expiration_date_update_failure", "InternalError";
    GlobalConfPartFileHashFailure, "global_conf_part_file_hash_failure", "InternalError";
    GlobalConfPartFileSaveFailure, "global_conf_part_file_save_failure", "InternalError";
    GlobalConfPartInvalidInstanceIdentifier, "global_conf_part_invalid_instance_identifier", "InternalError";
    GlobalConfSignatureDecodeFailure, "global_conf_signature_decode_failure", "InternalError";
    GlobalConfSignatureVerificationFailure, "global_conf_signature_verification_failure", "InternalError";
    MalformedAnchor, "malformed_anchor", "InternalError";
    MalformedGlobalConf, "malformed_global_conf", "MalformedGlobalConf";
    MalformedOptionalPartsConf, "malformed_optional_parts_conf", "MalformedOptionalPartsConf";
    // Signer, OCSP, management requests.
    CannotFindMember, "cannot_find_member", "CannotFindMember";
    CannotGetMemberIdFromCertificate, "cannot_get_member_id_from_certificate", "CannotGetMemberIdFromCertificate";
    CannotSign, "cannot_sign", "CannotSign";
    CertExists, "cert_exists", "CertExists";
    CertImportFailed, "cert_import_failed", "CertImportFailed";
    CertNotFound, "cert_not_found", "CertNotFound";
    CsrNotFound, "csr_not_found", "CsrNotFound";
    FailedToDeleteKey, "failed_to_delete_key", "FailedToDeleteKey";
    FailedToGenerateCertificateRequest, "failed_to_generate_certificate_request", "FailedToGenerateCertificateRequest";
    FailedToGeneratePrivateKey, "failed_to_generate_private_key", "FailedToGeneratePrivateKey";
    FailedToGeneratePublicKey, "failed_to_generate_public_key", "FailedToGeneratePublicKey";
    KeyNotAvailable, "key_not_available", "KeyNotAvailable";
    KeyNotFound, "key_not_found", "KeyNotFound";
    LoginFailed, "login_failed", "LoginFailed";
    LogoutFailed, "logout_failed", "LogoutFailed";
    MalformedKeyConf, "malformed_key_conf", "MalformedKeyConf";
    ManagementRequestFailed, "management_request_failed", "InternalError";
    ManagementRequestSendingFailed, "management_request_sending_failed", "InternalError";
    OcspConnectionError, "ocsp_connection_error", "InternalError";
    OcspFailed, "ocsp_failed", "InternalError";
    OcspResponseParsingFailure, "ocsp_response_parsing_failure", "InternalError";
    OcspResponseVerificationFailure, "ocsp_response_verification_failure", "InternalError";
    PinIncorrect, "pin_incorrect", "PinIncorrect";
    TokenNotActive, "token_not_active", "TokenNotActive";
    TokenNotAvailable, "token_not_available", "TokenNotAvailable";
    TokenNotFound, "token_not_found", "TokenNotFound";
    TokenNotInitialized, "token_not_initialized", "TokenNotInitialized";
    TokenPinPolicyFailure, "token_pin_policy_failure", "TokenPinPolicyFailure";
    TokenReadonly, "token_readonly", "TokenReadOnly";
    UnsupportedAlgorithm, "unsupported_algorithm", "UnsupportedAlgorithm";
    UnsupportedSignAlgorithm, "unsupported_sign_algorithm", "UnsupportedSignAlgorithm";
    WrongCertUsage, "wrong_cert_usage", "WrongCertUsage";
}

impl FaultCode {
    /// As written in `style`.
    pub const fn text(self, style: Style) -> &'static str {
        let [snake, camel] = self.spellings();
        match style {
            Style::Snake => snake,
            Style::Camel => camel,
        }
    }

    /// The code with this spelling, old or new; `None` for one that we do not know.
    pub fn from_text(text: &str) -> Option<Self> {
        let spelled = |which: usize| Self::ALL.iter().copied().find(|code| code.spellings()[which] == text);
        spelled(0).or_else(|| spelled(1))
    }
}

impl Side {
    /// Most specific first, so that a prefix is found before what it extends.
    const ALL: [Self; 5] =
        [Self::OpMonitor, Self::ClientProxy, Self::ServerProxy, Self::Client, Self::Signer];

    /// As written in `style`.
    pub const fn text(self, style: Style) -> &'static str {
        let [snake, camel] = match self {
            Self::Client => ["client", "Client"],
            Self::ClientProxy => ["server.clientproxy", "Server.ClientProxy"],
            Self::ServerProxy => ["server.serverproxy", "Server.ServerProxy"],
            Self::OpMonitor => ["server.serverproxy.opmonitor", "Server.ServerProxy.OpMonitor"],
            Self::Signer => ["signer", "Signer"],
        };
        match style {
            Style::Snake => snake,
            Style::Camel => camel,
        }
    }
}

/// What is known in a received code: the side, and the parts after it that we know, in order. Unknown parts are left out.
pub fn known_codes(text: &str) -> (Option<Side>, Vec<FaultCode>) {
    let strip = |style| {
        Side::ALL.into_iter().find_map(|side| {
            let rest = text.strip_prefix(side.text(style))?;
            (rest.is_empty() || rest.starts_with('.')).then_some((side, rest.trim_start_matches('.')))
        })
    };
    let (side, rest) = match strip(Style::Snake).or_else(|| strip(Style::Camel)) {
        Some((side, rest)) => (Some(side), rest),
        None => (None, text),
    };
    let mut codes = Vec::new();
    let mut parts = rest.split('.').take(MAX_PARTS).peekable();
    while let Some(part) = parts.next() {
        let dotted = parts.peek().and_then(|next| FaultCode::from_text(&format!("{part}.{next}")));
        if dotted.is_some() {
            parts.next();
        }
        codes.extend(dotted.or_else(|| FaultCode::from_text(part)));
    }
    (side, codes)
}

/// No fault of a security server nests deeper.
const MAX_PARTS: usize = 16;
