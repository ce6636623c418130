//! Certificate profiles: how a CA writes a member into a subject name, and how to read it back.
//!
//! Global configuration names a profile by a Java class; [`Profile::from_class_name`] knows those of the X-Road releases. A profile
//! works both ways: [`Profile::authentication_subject`] and [`Profile::signing_subject`] fill in a signing request,
//! [`Profile::member`] reads a signing certificate. Authentication certificates name nobody: whose they are is decided by their hash.
//!
//! Where a name has a type of attribute several times, the last one counts, as it does for the reference. Values that are empty are
//! as good as missing.

use proto::id::{MemberId, ServerId};

use crate::cert::Certificate;
use crate::issue::Subject;
use crate::name::{
    BUSINESS_CATEGORY, COMMON_NAME, COUNTRY, Name, ORGANIZATION, ORGANIZATION_IDENTIFIER,
    ORGANIZATIONAL_UNIT, SERIAL_NUMBER,
};

/// The profiles that exist, by the class name global configuration carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// C, O, CN.
    Ejbca,
    /// businessCategory and serialNumber.
    Basic,
    /// The same in another order and with a subject alternative name, for ACME.
    BasicAcme,
    /// Finland.
    FiVrk,
    /// Faroe Islands.
    Fo,
    /// Iceland.
    Is,
    /// Estonia, organisations.
    SkKlass3,
    /// Estonia, persons; deprecated, requests cannot be made with it.
    SkEsteId,
}

/// The subject does not name a member under this profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate subject does not name a member: {0}")]
pub struct ProfileError(pub String);

/// What the releases put in front of the class.
const PACKAGE: &str = "ee.ria.xroad.common.certificateprofile.impl.";

const CLASSES: [(&str, Profile); 8] = [
    ("EjbcaCertificateProfileInfoProvider", Profile::Ejbca),
    ("BasicCertificateProfileInfoProvider", Profile::Basic),
    ("BasicACMECertificateProfileInfoProvider", Profile::BasicAcme),
    ("FiVRKCertificateProfileInfoProvider", Profile::FiVrk),
    ("FoCertificateProfileInfoProvider", Profile::Fo),
    ("IsCertificateProfileInfoProvider", Profile::Is),
    ("SkKlass3CertificateProfileInfoProvider", Profile::SkKlass3),
    ("SkEsteIdCertificateProfileInfoProvider", Profile::SkEsteId),
];

/// Prefixes of Estonian organisation identifiers, with the member class each register stands for.
const ESTONIAN_REGISTERS: [(&str, &str); 3] = [("NTREE-", "COM"), ("GO:EE-", "GOV"), ("NP:EE-", "NGO")];

/// What a subject may need besides identifiers. Fields that a profile does not use are not looked at.
#[derive(Clone, Copy, Debug)]
pub struct Details<'a> {
    /// The member's display name.
    pub organisation: &'a str,
    /// Two letters.
    pub country: &'a str,
    /// The server's DNS name.
    pub dns_name: &'a str,
}

impl Profile {
    /// By class name, packages in front ignored.
    pub fn from_class_name(name: &str) -> Option<Self> {
        let class = name.trim().rsplit('.').next()?;
        CLASSES.iter().find(|(known, _)| *known == class).map(|(_, profile)| *profile)
    }
    /// Class name with its package, as global configuration carries it.
    pub fn class_name(self) -> String {
        let class = CLASSES.iter().find(|(_, profile)| *profile == self).map_or("", |(class, _)| class);
        format!("{PACKAGE}{class}")
    }
    /// Requests carry the DNS name as subject alternative name.
    pub fn has_alternative_name(self) -> bool {
        match self {
            Self::BasicAcme | Self::FiVrk => true,
            Self::Ejbca | Self::Basic | Self::Fo | Self::Is | Self::SkKlass3 | Self::SkEsteId => false,
        }
    }

    /// Subject of a request for an authentication certificate, in the profile's order.
    pub fn authentication_subject(self, server: &ServerId, details: Details<'_>) -> Subject {
        let owner = &server.owner;
        let Details { organisation, country, dns_name } = details;
        let vrk = format!("{}/{}/{}", owner.instance, server.code, owner.class);
        let id = short(server);
        fields(match self {
            Self::Ejbca => vec![(COUNTRY, &owner.instance), (COMMON_NAME, &server.code)],
            Self::Basic => vec![
                (COMMON_NAME, dns_name),
                (SERIAL_NUMBER, &owner.code),
                (COUNTRY, country),
                (ORGANIZATION, organisation),
            ],
            Self::BasicAcme => vec![
                (COUNTRY, country),
                (ORGANIZATION, organisation),
                (SERIAL_NUMBER, &owner.code),
                (COMMON_NAME, dns_name),
            ],
            Self::FiVrk => vec![
                (COUNTRY, "FI"),
                (ORGANIZATION, organisation),
                (SERIAL_NUMBER, &vrk),
                (COMMON_NAME, dns_name),
            ],
            Self::Fo => vec![(COUNTRY, "FO"), (ORGANIZATION, &owner.instance), (COMMON_NAME, &id)],
            Self::Is => vec![(COUNTRY, "IS"), (COMMON_NAME, dns_name), (SERIAL_NUMBER, &id)],
            Self::SkKlass3 => vec![(SERIAL_NUMBER, &owner.code), (COMMON_NAME, organisation)],
            Self::SkEsteId => vec![],
        })
    }

    /// Subject of a request for a signing certificate of `member` made at `server`, in the profile's order.
    pub fn signing_subject(self, member: &MemberId, server: &ServerId, details: Details<'_>) -> Subject {
        let MemberId { instance, class, code } = member;
        let Details { organisation, country, .. } = details;
        let vrk = format!("{instance}/{}/{class}", server.code);
        let id = short(server);
        fields(match self {
            Self::Ejbca => vec![(COUNTRY, instance), (ORGANIZATION, class), (COMMON_NAME, code)],
            Self::Basic => vec![
                (COMMON_NAME, organisation),
                (ORGANIZATION, organisation),
                (BUSINESS_CATEGORY, class),
                (COUNTRY, country),
                (SERIAL_NUMBER, code),
            ],
            Self::BasicAcme => vec![
                (COUNTRY, country),
                (ORGANIZATION, organisation),
                (BUSINESS_CATEGORY, class),
                (SERIAL_NUMBER, code),
                (COMMON_NAME, organisation),
            ],
            Self::FiVrk => {
                vec![
                    (COUNTRY, "FI"),
                    (ORGANIZATION, organisation),
                    (SERIAL_NUMBER, &vrk),
                    (COMMON_NAME, code),
                ]
            }
            Self::Fo | Self::Is => vec![
                (COUNTRY, if self == Self::Fo { "FO" } else { "IS" }),
                (ORGANIZATION, instance),
                (ORGANIZATIONAL_UNIT, class),
                (COMMON_NAME, code),
                (SERIAL_NUMBER, &id),
            ],
            Self::SkKlass3 => vec![(SERIAL_NUMBER, code), (COMMON_NAME, organisation)],
            Self::SkEsteId => vec![],
        })
    }

    /// The member a signing certificate names; `instance` is the one asked about.
    ///
    /// # Errors
    /// A required field is missing.
    pub fn member(self, cert: &Certificate, instance: &str) -> Result<MemberId, ProfileError> {
        self.member_of(cert.subject_name(), instance)
    }

    /// As [`member`](Self::member), of a name.
    ///
    /// # Errors
    /// A required field is missing.
    pub fn member_of(self, subject: &Name, instance: &str) -> Result<MemberId, ProfileError> {
        let field = |oid, what: &str| {
            let missing = || ProfileError(format!("it has no {what}"));
            subject.last(oid).filter(|value| !value.is_empty()).ok_or_else(missing)
        };
        let common_name = || field(COMMON_NAME, "common name");
        let serial = || field(SERIAL_NUMBER, "serial number");
        let organisation = || field(ORGANIZATION, "organisation");
        let unit = || field(ORGANIZATIONAL_UNIT, "organisational unit");
        let in_country = |expected: &str| match field(COUNTRY, "country")? {
            found if found == expected => Ok(()),
            _ => Err(ProfileError(format!("its country is not {expected}"))),
        };
        let simple = || member(field(COUNTRY, "country")?, organisation()?, common_name()?);
        match self {
            Self::Ejbca => simple(),
            Self::Basic | Self::BasicAcme => {
                member(instance, field(BUSINESS_CATEGORY, "business category")?, serial()?)
            }
            Self::FiVrk => {
                if subject.last(SERIAL_NUMBER).is_none() && subject.last(ORGANIZATIONAL_UNIT).is_none() {
                    return simple();
                }
                in_country("FI")?;
                if subject.last(SERIAL_NUMBER).is_none() {
                    return member(organisation()?, unit()?, common_name()?);
                }
                organisation()?;
                let parts: Vec<_> = serial()?.split('/').collect();
                let [instance, _server, class] = parts.as_slice() else {
                    return Err(ProfileError("its serial number is not instance/server/class".to_owned()));
                };
                member(instance, class, common_name()?)
            }
            Self::Fo | Self::Is => {
                in_country(if self == Self::Fo { "FO" } else { "IS" })?;
                serial()?;
                member(organisation()?, unit()?, common_name()?)
            }
            Self::SkKlass3 => match subject.last(ORGANIZATION_IDENTIFIER).filter(|id| !id.is_empty()) {
                Some(id) => by_estonian_register(instance, id),
                None => by_estonian_number(instance, serial()?),
            },
            Self::SkEsteId => member(instance, "PERSON", serial()?),
        }
    }
}

fn fields(fields: Vec<(&'static str, &str)>) -> Subject {
    fields.into_iter().map(|(oid, value)| (oid, value.to_owned())).collect()
}

/// `instance/class/member/server`.
fn short(server: &ServerId) -> String {
    let MemberId { instance, class, code } = &server.owner;
    format!("{instance}/{class}/{code}/{}", server.code)
}

fn member(instance: &str, class: &str, code: &str) -> Result<MemberId, ProfileError> {
    if [instance, class, code].iter().any(|part| part.is_empty()) {
        return Err(ProfileError("a part of the member's identifier is empty".to_owned()));
    }
    Ok(MemberId { instance: instance.to_owned(), class: class.to_owned(), code: code.to_owned() })
}

fn by_estonian_register(instance: &str, id: &str) -> Result<MemberId, ProfileError> {
    for (prefix, class) in ESTONIAN_REGISTERS {
        if let Some(code) = id.strip_prefix(prefix) {
            return member(instance, class, code);
        }
    }
    // Codes of foreign registers are only unique with their prefix.
    member(instance, "NEE", id)
}

fn by_estonian_number(instance: &str, number: &str) -> Result<MemberId, ProfileError> {
    let malformed =
        || ProfileError("its serial number is not eight digits of an Estonian register".to_owned());
    if number.len() != 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let class = match number.as_bytes()[0] {
        b'1'..=b'6' => "COM",
        b'7' => "GOV",
        b'8' | b'9' => "NGO",
        _ => return Err(malformed()),
    };
    member(instance, class, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETAILS: Details<'_> =
        Details { organisation: "The Member", country: "DE", dns_name: "ss.example.org" };
    const ALL: [Profile; 8] = [
        Profile::Ejbca,
        Profile::Basic,
        Profile::BasicAcme,
        Profile::FiVrk,
        Profile::Fo,
        Profile::Is,
        Profile::SkKlass3,
        Profile::SkEsteId,
    ];

    fn id(instance: &str, class: &str, code: &str) -> MemberId {
        MemberId { instance: instance.to_owned(), class: class.to_owned(), code: code.to_owned() }
    }
    /// DER as `rcgen` writes it, read back.
    fn name(subject: &[(&'static str, &str)]) -> Name {
        let key = crate::key::PrivateKey::generate(crate::key::KeyKind::P256).unwrap();
        let subject = fields(subject.to_vec());
        let ca = crate::test_pki::TestCa::root();
        ca.certify(&subject, crate::issue::Role::Signing, &key, |_| {}).subject_name().clone()
    }
    fn text(subject: &Subject) -> String {
        let key = |oid: &str| match oid {
            COUNTRY => "C",
            ORGANIZATION => "O",
            ORGANIZATIONAL_UNIT => "OU",
            COMMON_NAME => "CN",
            SERIAL_NUMBER => "SN",
            BUSINESS_CATEGORY => "BC",
            _ => "?",
        };
        subject.iter().map(|(oid, value)| format!("{}={value}", key(oid))).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn class_names_lead_back() {
        for profile in ALL {
            assert_eq!(Profile::from_class_name(&profile.class_name()), Some(profile));
        }
        let cases = [
            ("EjbcaCertificateProfileInfoProvider", Some(Profile::Ejbca)),
            (" a.b.FoCertificateProfileInfoProvider\n", Some(Profile::Fo)),
            ("ejbcacertificateprofileinfoprovider", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(Profile::from_class_name(name), expected, "{name}");
        }
    }

    #[test]
    fn subjects_of_requests() {
        let member = id("XX", "GOV", "123");
        let server = ServerId { owner: id("XX", "COM", "9"), code: "SS1".to_owned() };
        let cases = [
            (Profile::Ejbca, "C=XX, CN=SS1", "C=XX, O=GOV, CN=123"),
            (
                Profile::Basic,
                "CN=ss.example.org, SN=9, C=DE, O=The Member",
                "CN=The Member, O=The Member, BC=GOV, C=DE, SN=123",
            ),
            (
                Profile::BasicAcme,
                "C=DE, O=The Member, SN=9, CN=ss.example.org",
                "C=DE, O=The Member, BC=GOV, SN=123, CN=The Member",
            ),
            (
                Profile::FiVrk,
                "C=FI, O=The Member, SN=XX/SS1/COM, CN=ss.example.org",
                "C=FI, O=The Member, SN=XX/SS1/GOV, CN=123",
            ),
            (Profile::Fo, "C=FO, O=XX, CN=XX/COM/9/SS1", "C=FO, O=XX, OU=GOV, CN=123, SN=XX/COM/9/SS1"),
            (
                Profile::Is,
                "C=IS, CN=ss.example.org, SN=XX/COM/9/SS1",
                "C=IS, O=XX, OU=GOV, CN=123, SN=XX/COM/9/SS1",
            ),
            (Profile::SkKlass3, "SN=9, CN=The Member", "SN=123, CN=The Member"),
            (Profile::SkEsteId, "", ""),
        ];
        for (profile, authentication, signing) in cases {
            assert_eq!(
                text(&profile.authentication_subject(&server, DETAILS)),
                authentication,
                "{profile:?}"
            );
            let subject = profile.signing_subject(&member, &server, DETAILS);
            assert_eq!(text(&subject), signing, "{profile:?}");
            // What a CA takes over unchanged names the member again; an Estonian number alone must be one.
            if !matches!(profile, Profile::SkKlass3 | Profile::SkEsteId) {
                let subject: Vec<_> = subject.iter().map(|(oid, value)| (*oid, value.as_str())).collect();
                assert_eq!(profile.member_of(&name(&subject), "XX"), Ok(member.clone()), "{profile:?}");
            }
        }
    }

    #[test]
    fn members_of_certificates() {
        use Profile::{Basic, Ejbca, FiVrk, Fo, Is, SkEsteId, SkKlass3};
        let (c, o, ou, cn, sn) = (COUNTRY, ORGANIZATION, ORGANIZATIONAL_UNIT, COMMON_NAME, SERIAL_NUMBER);
        let org = ORGANIZATION_IDENTIFIER;
        type Fields<'a> = &'a [(&'static str, &'a str)];
        let cases: [(Profile, Fields<'_>, Option<[&str; 3]>); 36] = [
            (Ejbca, &[(c, "XX"), (o, "Foo"), (cn, "bar")], Some(["XX", "Foo", "bar"])),
            (Ejbca, &[(o, "Foo"), (cn, "bar")], None),
            (Ejbca, &[(c, "XX"), (cn, "bar")], None),
            (Ejbca, &[(c, "XX"), (o, "Foo")], None),
            (Ejbca, &[(c, "XX"), (o, "Foo"), (cn, "")], None),
            (Basic, &[(BUSINESS_CATEGORY, "GOV"), (sn, "1")], Some(["II", "GOV", "1"])),
            (Basic, &[(sn, "1")], None),
            (Basic, &[(BUSINESS_CATEGORY, "GOV")], None),
            (FiVrk, &[(c, "FI"), (o, "x"), (sn, "XX/S/GOV"), (cn, "1")], Some(["XX", "GOV", "1"])),
            (FiVrk, &[(c, "SE"), (o, "x"), (sn, "XX/S/GOV"), (cn, "1")], None),
            (FiVrk, &[(c, "FI"), (sn, "XX/S/GOV"), (cn, "1")], None),
            (FiVrk, &[(c, "FI"), (o, "x"), (sn, "XX/GOV"), (cn, "1")], None),
            (FiVrk, &[(c, "FI"), (o, "x"), (sn, "XX/S/GOV/y"), (cn, "1")], None),
            (FiVrk, &[(c, "FI"), (o, "x"), (sn, "/S/GOV"), (cn, "1")], None),
            (FiVrk, &[(c, "FI"), (o, "XX"), (ou, "GOV"), (cn, "1")], Some(["XX", "GOV", "1"])),
            (FiVrk, &[(c, "SE"), (o, "XX"), (ou, "GOV"), (cn, "1")], None),
            (FiVrk, &[(c, "XX"), (o, "GOV"), (cn, "1")], Some(["XX", "GOV", "1"])),
            (Fo, &[(c, "FO"), (o, "XX"), (ou, "GOV"), (cn, "1"), (sn, "s")], Some(["XX", "GOV", "1"])),
            (Fo, &[(c, "FO"), (o, "XX"), (ou, "GOV"), (cn, "1")], None),
            (Fo, &[(c, "IS"), (o, "XX"), (ou, "GOV"), (cn, "1"), (sn, "s")], None),
            (Is, &[(c, "IS"), (o, "XX"), (ou, "GOV"), (cn, "1"), (sn, "s")], Some(["XX", "GOV", "1"])),
            (Is, &[(c, "IS"), (o, "XX"), (cn, "1"), (sn, "s")], None),
            (Is, &[(c, "IS"), (ou, "GOV"), (cn, "1"), (sn, "s")], None),
            (SkKlass3, &[(sn, "16543212")], Some(["II", "COM", "16543212"])),
            (SkKlass3, &[(sn, "66543212")], Some(["II", "COM", "66543212"])),
            (SkKlass3, &[(sn, "76543212")], Some(["II", "GOV", "76543212"])),
            (SkKlass3, &[(sn, "96543212")], Some(["II", "NGO", "96543212"])),
            (SkKlass3, &[(sn, "06543212")], None),
            (SkKlass3, &[(sn, "123")], None),
            (SkKlass3, &[(sn, "s1234567")], None),
            (SkKlass3, &[(sn, "16543212"), (org, "GO:EE-8")], Some(["II", "GOV", "8"])),
            (SkKlass3, &[(org, "NTREE-16543212")], Some(["II", "COM", "16543212"])),
            (SkKlass3, &[(org, "NP:FI-96543212")], Some(["II", "NEE", "NP:FI-96543212"])),
            (SkKlass3, &[(org, "NP:EE-")], None),
            (SkEsteId, &[(sn, "foobar")], Some(["II", "PERSON", "foobar"])),
            (SkEsteId, &[(c, "x")], None),
        ];
        for (profile, subject, expected) in cases {
            let found = profile.member_of(&name(subject), "II").ok();
            let expected = expected.map(|[instance, class, code]| id(instance, class, code));
            assert_eq!(found, expected, "{profile:?} {subject:?}");
        }
    }
}
