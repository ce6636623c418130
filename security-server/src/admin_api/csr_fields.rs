//! Fields that certificate profiles want in the subject of a request: which, with which value, and which of them a person may fill in.
//!
//! What a profile makes of a subject stands in `pki::profile`; this is its other side, for forms and for checking what was filled in.

use std::collections::BTreeMap;

use admin_api::Problem;
use admin_api::lenient::Text;
use admin_api::types::security_server::trust::CsrSubjectFieldDescription;
use pki::name::{BUSINESS_CATEGORY, COMMON_NAME, COUNTRY, ORGANIZATION, ORGANIZATIONAL_UNIT, SERIAL_NUMBER};
use pki::profile::Profile;
use proto::id::{MemberId, ServerId};
use signer::token::{CsrRequest, KeyUsage};

/// Whom a certificate is for.
pub(super) struct For<'a> {
    pub(super) usage: KeyUsage,
    pub(super) server: &'a ServerId,
    /// Whose messages a signing certificate signs; the owner for the server's own.
    pub(super) member: &'a MemberId,
    /// The member's name.
    pub(super) name: &'a str,
}

/// Where a field goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// An attribute of the subject.
    Subject(&'static str),
    /// The subject alternative name.
    AlternativeName,
}

/// One field.
struct Field {
    id: &'static str,
    place: Place,
    label: &'static str,
    value: String,
    read_only: bool,
}

const fn subject(id: &'static str) -> Place {
    match id.as_bytes() {
        b"C" => Place::Subject(COUNTRY),
        b"O" => Place::Subject(ORGANIZATION),
        b"OU" => Place::Subject(ORGANIZATIONAL_UNIT),
        b"CN" => Place::Subject(COMMON_NAME),
        b"businessCategory" => Place::Subject(BUSINESS_CATEGORY),
        b"subjectAltName" => Place::AlternativeName,
        _ => Place::Subject(SERIAL_NUMBER),
    }
}

/// A field that has its value.
fn fixed(id: &'static str, label: &'static str, value: impl Into<String>) -> Field {
    Field { id, place: subject(id), label, value: value.into(), read_only: true }
}

/// A field to fill in.
fn open(id: &'static str, label: &'static str) -> Field {
    Field { id, place: subject(id), label, value: String::new(), read_only: false }
}

/// The fields of a profile, in its order. None for one that requests cannot be made with.
fn fields(profile: Profile, wanted: &For<'_>) -> Vec<Field> {
    if wanted.usage == KeyUsage::Authentication {
        authentication(profile, wanted)
    } else {
        signing(profile, wanted)
    }
}

fn authentication(profile: Profile, wanted: &For<'_>) -> Vec<Field> {
    let For { server, name, .. } = wanted;
    let owner = &server.owner;
    match profile {
        Profile::Ejbca => {
            vec![fixed("C", "INSTANCE_IDENTIFIER", &owner.instance), fixed("CN", "SERVER_CODE", &server.code)]
        }
        Profile::Basic => vec![
            open("CN", "SERVER_DNS_NAME"),
            fixed("serialNumber", "MEMBER_CODE_SN", &owner.code),
            open("C", "COUNTRY_CODE"),
            fixed("O", "ORGANIZATION_NAME", *name),
        ],
        Profile::BasicAcme => vec![
            open("C", "COUNTRY_CODE"),
            fixed("O", "ORGANIZATION_NAME", *name),
            fixed("serialNumber", "MEMBER_CODE_SN", &owner.code),
            open("CN", "SERVER_DNS_NAME"),
            open("subjectAltName", "SUBJECT_ALTERNATIVE_NAME"),
        ],
        Profile::FiVrk => vec![
            fixed("C", "COUNTRY_CODE", "FI"),
            open("O", "ORGANIZATION_NAME"),
            fixed("serialNumber", "SERIAL_NUMBER", vrk(&owner.instance, server, &owner.class)),
            open("CN", "SERVER_DNS_NAME"),
            open("subjectAltName", "SUBJECT_ALTERNATIVE_NAME"),
        ],
        Profile::Fo => vec![
            fixed("C", "COUNTRY_CODE", "FO"),
            fixed("O", "INSTANCE_IDENTIFIER_O", &owner.instance),
            fixed("CN", "COMMON_NAME", short(server)),
        ],
        Profile::Is => vec![
            fixed("C", "COUNTRY_CODE", "IS"),
            open("CN", "SERVER_DNS_NAME"),
            fixed("serialNumber", "SERIAL_NUMBER", short(server)),
        ],
        Profile::SkKlass3 => {
            vec![fixed("SN", "SERIAL_NUMBER_SN", &owner.code), fixed("CN", "COMMON_NAME", *name)]
        }
        Profile::SkEsteId => vec![],
    }
}

fn signing(profile: Profile, wanted: &For<'_>) -> Vec<Field> {
    let For { server, member, name, .. } = wanted;
    match profile {
        Profile::Ejbca => vec![
            fixed("C", "INSTANCE_IDENTIFIER", &member.instance),
            fixed("O", "MEMBER_CLASS", &member.class),
            fixed("CN", "MEMBER_CODE", &member.code),
        ],
        Profile::Basic => vec![
            fixed("CN", "ORGANIZATION_NAME_CN", *name),
            fixed("O", "ORGANIZATION_NAME", *name),
            fixed("businessCategory", "MEMBER_CLASS_BC", &member.class),
            open("C", "COUNTRY_CODE"),
            fixed("serialNumber", "MEMBER_CODE_SN", &member.code),
        ],
        Profile::BasicAcme => vec![
            open("C", "COUNTRY_CODE"),
            fixed("O", "ORGANIZATION_NAME", *name),
            fixed("businessCategory", "MEMBER_CLASS_BC", &member.class),
            fixed("serialNumber", "MEMBER_CODE_SN", &member.code),
            fixed("CN", "ORGANIZATION_NAME_CN", *name),
            open("subjectAltName", "SUBJECT_ALTERNATIVE_NAME"),
        ],
        Profile::FiVrk => vec![
            fixed("C", "COUNTRY_CODE", "FI"),
            open("O", "ORGANIZATION_NAME"),
            fixed("serialNumber", "SERIAL_NUMBER", vrk(&member.instance, server, &member.class)),
            fixed("CN", "MEMBER_CODE", &member.code),
            open("subjectAltName", "SUBJECT_ALTERNATIVE_NAME"),
        ],
        Profile::Fo | Profile::Is => vec![
            fixed("C", "COUNTRY_CODE", if profile == Profile::Fo { "FO" } else { "IS" }),
            fixed("O", "INSTANCE_IDENTIFIER_O", &member.instance),
            fixed("OU", "MEMBER_CLASS_OU", &member.class),
            fixed("CN", "MEMBER_CODE", &member.code),
            Field {
                read_only: profile == Profile::Is,
                ..fixed("serialNumber", "SERIAL_NUMBER", short(server))
            },
        ],
        Profile::SkKlass3 => {
            vec![fixed("SN", "SERIAL_NUMBER_SN", &member.code), fixed("CN", "COMMON_NAME", *name)]
        }
        Profile::SkEsteId => vec![],
    }
}

fn vrk(instance: &str, server: &ServerId, class: &str) -> String {
    format!("{instance}/{}/{class}", server.code)
}

fn short(server: &ServerId) -> String {
    let owner = &server.owner;
    format!("{}/{}/{}/{}", owner.instance, owner.class, owner.code, server.code)
}

/// For forms.
pub(super) fn describe(profile: Profile, wanted: &For<'_>) -> Vec<CsrSubjectFieldDescription> {
    let shown = |field: Field| CsrSubjectFieldDescription {
        id: field.id.into(),
        label: None,
        label_key: Some(field.label.into()),
        default_value: field.value,
        read_only: field.read_only,
        required: true,
        localized: true,
    };
    fields(profile, wanted).into_iter().map(shown).collect()
}

/// The request with what was filled in. Of fields that have their value that value is taken, whatever was sent.
///
/// # Errors
/// 400 `invalid_dn_parameter` for a field that is missing or that the profile does not know.
pub(super) fn fill_in(
    profile: Profile,
    wanted: &For<'_>,
    filled_in: &BTreeMap<String, Text>,
) -> Result<CsrRequest, Problem> {
    let invalid = |id: &str| Problem::bad_request("invalid_dn_parameter").because(format!("field {id}"));
    let fields = fields(profile, wanted);
    if let Some(unknown) = filled_in.keys().find(|id| !fields.iter().any(|field| field.id == **id)) {
        return Err(invalid(unknown));
    }
    if fields.is_empty() {
        return Err(invalid("none of this profile can be asked for"));
    }
    let (mut subject, mut dns_names) = (Vec::new(), Vec::new());
    for field in fields {
        let given = filled_in.get(field.id).filter(|_| !field.read_only).map(|text| text.0.clone());
        let value = given.unwrap_or(field.value);
        if value.is_empty() {
            return Err(invalid(field.id));
        }
        match field.place {
            Place::Subject(oid) => subject.push((oid, value)),
            Place::AlternativeName => dns_names.push(value),
        }
    }
    let member = (wanted.usage == KeyUsage::Signing).then(|| wanted.member.clone());
    Ok(CsrRequest { member, profile: profile.class_name(), subject, dns_names })
}

#[cfg(test)]
mod tests {
    use pki::profile::Details;

    use super::*;

    const PROFILES: [Profile; 7] = [
        Profile::Ejbca,
        Profile::Basic,
        Profile::BasicAcme,
        Profile::FiVrk,
        Profile::Fo,
        Profile::Is,
        Profile::SkKlass3,
    ];

    /// Fields and profiles must not drift apart: with the same answers they give the same subject.
    #[test]
    fn what_is_filled_in_is_what_the_profile_makes() {
        let owner = MemberId::new("DEV", "COM", "1234");
        let member = MemberId::new("DEV", "GOV", "7");
        let server = ServerId { owner, code: "SS1".into() };
        let details = Details { organisation: "Org", country: "EE", dns_name: "ss1.ee" };
        for profile in PROFILES {
            for usage in [KeyUsage::Authentication, KeyUsage::Signing] {
                let signing = usage == KeyUsage::Signing;
                let of = if signing { &member } else { &server.owner };
                let wanted = For { usage, server: &server, member: of, name: "Org" };
                let answers = describe(profile, &wanted).into_iter().map(|field| {
                    let answer = match (field.id.as_str(), field.read_only) {
                        (_, true) => "ignored".to_owned(),
                        ("C", _) => "EE".to_owned(),
                        ("O", _) => "Org".to_owned(),
                        ("serialNumber", _) => field.default_value,
                        _ => "ss1.ee".to_owned(),
                    };
                    (field.id, Text(answer))
                });
                let request = fill_in(profile, &wanted, &answers.collect()).unwrap();
                let expected = if signing {
                    profile.signing_subject(&member, &server, details)
                } else {
                    profile.authentication_subject(&server, details)
                };
                assert_eq!(request.subject, expected, "{profile:?} {usage:?}");
                assert_eq!(request.dns_names.is_empty(), !profile.has_alternative_name(), "{profile:?}");
            }
        }
    }

    #[test]
    fn unknown_and_missing_fields_are_refused() {
        let server = ServerId { owner: MemberId::new("DEV", "COM", "1"), code: "SS1".into() };
        let usage = KeyUsage::Authentication;
        let wanted = For { usage, server: &server, member: &server.owner, name: "Org" };
        let filled = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(id, text)| ((*id).to_owned(), Text::from(*text)));
            let problem = fill_in(Profile::FiVrk, &wanted, &pairs.collect()).err();
            problem.and_then(|problem| problem.code)
        };
        let whole = [("O", "Org"), ("CN", "ss1"), ("subjectAltName", "ss1")];
        assert_eq!(filled(&whole), None);
        let refused = Some("invalid_dn_parameter".to_owned());
        assert_eq!(filled(&whole[1..]), refused, "a field is missing");
        assert_eq!(filled(&[whole[0], whole[1], ("subjectAltName", "")]), refused, "a field is empty");
        assert_eq!(filled(&[whole[0], whole[1], whole[2], ("L", "x")]), refused, "nobody knows L");
    }
}
