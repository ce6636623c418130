//! Shared parameters that are written child by child: which versions have the same bytes, and who may be named.

use super::*;
use crate::globalconf::shared_parameters::{Document, ListedServer};

/// Who publishes several versions trusts these ranges: a version in one has those bytes, and the next one below or above has not.
#[test]
fn a_document_says_which_versions_have_the_same_bytes() {
    let written = |shared: &SharedParameters, version| {
        let mut document = Document::begin(shared, version).unwrap();
        for each in &shared.members {
            let names = each.subsystems.iter().map(|(code, name)| (code.as_str(), name.as_deref()));
            document.member(&each.id, &each.class_description, &each.name, names).unwrap();
        }
        let mut text = std::mem::take(document.text());
        for each in &shared.servers {
            let listed = ListedServer {
                owner: 3,
                code: each.id.code.clone(),
                address: each.address.clone(),
                auth_cert_hashes: each.auth_cert_hashes.clone(),
                clients: vec![2, 0],
                maintenance: each.maintenance.clone(),
            };
            document.server(&listed).unwrap();
        }
        for group in &shared.groups {
            document.group(&group.id.code, &group.description, &group.members).unwrap();
        }
        let end = document.finish().unwrap();
        text.push_str(&end.text);
        (text.into_bytes(), end.versions)
    };
    let without = |strip: &dyn Fn(&mut SharedParameters)| {
        let mut shared = shared();
        strip(&mut shared);
        shared
    };
    let no_six = |shared: &mut SharedParameters| {
        shared.approved_tsas.clear();
        let ca = &mut shared.approved_cas[0];
        ca.default_csr_format = None;
        ca.intermediates.clear();
        ca.top.ocsp.clear();
    };
    let no_five = |shared: &mut SharedParameters| {
        shared.members[0].subsystems[0].1 = None;
        shared.servers[0].maintenance = None;
    };
    let no_four = |shared: &mut SharedParameters| {
        let acme = shared.approved_cas[0].acme.as_mut().unwrap();
        (acme.authentication_profile, acme.signing_profile) = (None, None);
    };
    let all = |shared: &mut SharedParameters| {
        no_six(shared);
        no_five(shared);
        no_four(shared);
    };
    let cases = [
        ("one of everything", without(&|_| ()), vec![2..=2, 3..=3, 4..=4, 5..=5, 6..=6]),
        ("nothing of version 6", without(&no_six), vec![2..=2, 3..=3, 4..=4, 5..=6]),
        ("nothing of version 5", without(&no_five), vec![2..=2, 3..=3, 4..=5, 6..=6]),
        ("nothing of version 4", without(&no_four), vec![2..=2, 3..=4, 5..=5, 6..=6]),
        ("nothing of versions 4 to 6", without(&all), vec![2..=2, 3..=6]),
    ];
    for (name, shared, expected) in cases {
        for versions in expected {
            let bytes: Vec<_> = versions.clone().map(|version| written(&shared, version)).collect();
            for (version, (text, same)) in versions.clone().zip(&bytes) {
                assert_eq!(*same, versions, "{name}, version {version}");
                assert!(*text == bytes[0].0, "{name}, version {version}");
                assert!(*text == shared.write(version).unwrap(), "{name}, version {version}");
            }
        }
    }
}

#[test]
fn a_server_names_nobody_who_was_not_given() {
    let mut document = Document::begin(&shared(), 6).unwrap();
    let number = document.member(&member_id("1"), "", "One", [("land", None)]).unwrap();
    let server = |client| ListedServer {
        owner: number,
        code: "s".into(),
        address: None,
        auth_cert_hashes: vec![],
        clients: vec![client],
        maintenance: None,
    };
    assert_eq!(document.server(&server(number + 1)), Ok(()));
    let unknown = DocumentError::UnknownId("id2".into());
    assert_eq!(document.server(&server(number + 2)), Err(ParametersError(unknown)));
}
