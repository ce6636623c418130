//! The description of the management services that security servers read from `http://<central server>/managementservices.wsdl`:
//! WSDL 1.1, document/literal, one operation a request that travels as an X-Road message. Made from one list, so that no service is forgotten.

use proto::id::IDENTIFIERS_NS;
use proto::soap::XROAD_NS;

/// Services with the children of their requests after `server`, in order; `?` marks those that may be missing.
const SERVICES: [(&str, &[&str]); 10] = [
    ("clientReg", &["client", "subsystemName?"]),
    ("clientDeletion", &["client"]),
    ("clientDisable", &["client"]),
    ("clientEnable", &["client"]),
    ("clientRename", &["client", "subsystemName"]),
    ("authCertDeletion", &["authCert"]),
    ("ownerChange", &["client"]),
    ("addressChange", &["address"]),
    ("maintenanceModeEnable", &["message?"]),
    ("maintenanceModeDisable", &[]),
];

/// Header fields of the message protocol.
const HEADERS: [&str; 4] = ["client", "service", "id", "protocolVersion"];

/// The document; `host` is that of the central server as security servers reach its port 4002.
pub fn document(host: &str) -> String {
    let elements: String = SERVICES.iter().map(|(name, children)| element(name, children)).collect();
    let messages: String = SERVICES
        .iter()
        .flat_map(|(name, _)| [(*name).to_owned(), format!("{name}Response")])
        .map(|name| {
            format!("<wsdl:message name=\"{name}\"><wsdl:part name=\"body\" element=\"x:{name}\"/></wsdl:message>\n")
        })
        .collect();
    let header_parts: String =
        HEADERS.map(|name| format!("<wsdl:part name=\"{name}\" element=\"x:{name}\"/>")).concat();
    let ports: String = SERVICES
        .iter()
        .map(|(name, _)| {
            format!(
                "<wsdl:operation name=\"{name}\"><wsdl:input message=\"x:{name}\"/>\
                 <wsdl:output message=\"x:{name}Response\"/></wsdl:operation>\n"
            )
        })
        .collect();
    let headers: String = HEADERS
        .map(|name| format!("<soap:header message=\"x:requestHeader\" part=\"{name}\" use=\"literal\"/>"))
        .concat();
    let bindings: String = SERVICES
        .iter()
        .map(|(name, _)| {
            format!(
                "<wsdl:operation name=\"{name}\"><soap:operation soapAction=\"\" style=\"document\"/>\
                 <wsdl:input><soap:body parts=\"body\" use=\"literal\"/>{headers}</wsdl:input>\
                 <wsdl:output><soap:body parts=\"body\" use=\"literal\"/>{headers}</wsdl:output></wsdl:operation>\n"
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <wsdl:definitions name=\"managementservices\" targetNamespace=\"{XROAD_NS}\" xmlns:x=\"{XROAD_NS}\" \
         xmlns:id=\"{IDENTIFIERS_NS}\" xmlns:wsdl=\"http://schemas.xmlsoap.org/wsdl/\" \
         xmlns:soap=\"http://schemas.xmlsoap.org/wsdl/soap/\" xmlns:xs=\"http://www.w3.org/2001/XMLSchema\">\n\
         <wsdl:types>\n{}<xs:schema targetNamespace=\"{XROAD_NS}\" elementFormDefault=\"qualified\">\n\
         <xs:import namespace=\"{IDENTIFIERS_NS}\"/>\n{}{elements}</xs:schema>\n</wsdl:types>\n{messages}\
         <wsdl:message name=\"requestHeader\">{header_parts}</wsdl:message>\n\
         <wsdl:portType name=\"managementPort\">\n{ports}</wsdl:portType>\n\
         <wsdl:binding name=\"managementBinding\" type=\"x:managementPort\">\
         <soap:binding style=\"document\" transport=\"http://schemas.xmlsoap.org/soap/http\"/>\n{bindings}</wsdl:binding>\n\
         <wsdl:service name=\"managementService\"><wsdl:port name=\"managementPort\" binding=\"x:managementBinding\">\
         <soap:address location=\"https://{}:4002/managementservice/manage/\"/></wsdl:port></wsdl:service>\n\
         </wsdl:definitions>\n",
        identifiers(),
        header_elements(),
        proto::xml::escape_attribute(host),
    )
}

/// A request and its answer, which has the number of the request besides.
fn element(name: &str, children: &[&str]) -> String {
    let child = |child: &&str| {
        let (name, optional) = match child.strip_suffix('?') {
            Some(name) => (name, " minOccurs=\"0\""),
            None => (*child, ""),
        };
        let kind = match name {
            "client" => "id:identifier",
            "authCert" => "xs:base64Binary",
            _ => "xs:string",
        };
        format!("<xs:element name=\"{name}\" type=\"{kind}\"{optional}/>")
    };
    let children: String = children.iter().map(child).collect();
    let server = "<xs:element name=\"server\" type=\"id:identifier\"/>";
    let with = |name: &str, number: &str| {
        format!(
            "<xs:element name=\"{name}\"><xs:complexType><xs:sequence>{server}{children}{number}</xs:sequence>\
             </xs:complexType></xs:element>\n"
        )
    };
    let optional = "<xs:element name=\"requestId\" type=\"xs:integer\" minOccurs=\"0\"/>";
    let always = "<xs:element name=\"requestId\" type=\"xs:integer\"/>";
    with(name, optional) + &with(&format!("{name}Response"), always)
}

fn header_elements() -> String {
    let typed = [
        ("client", "id:identifier"),
        ("service", "id:identifier"),
        ("id", "xs:string"),
        ("protocolVersion", "xs:string"),
    ];
    typed.map(|(name, kind)| format!("<xs:element name=\"{name}\" type=\"{kind}\"/>\n")).concat()
}

fn identifiers() -> String {
    let codes = [
        "xRoadInstance",
        "memberClass",
        "memberCode",
        "subsystemCode",
        "serviceCode",
        "serviceVersion",
        "serverCode",
    ];
    let codes = codes
        .map(|code| format!("<xs:element name=\"{code}\" type=\"xs:string\" minOccurs=\"0\"/>"))
        .concat();
    format!(
        "<xs:schema targetNamespace=\"{IDENTIFIERS_NS}\" elementFormDefault=\"qualified\">\
         <xs:attribute name=\"objectType\" type=\"xs:string\"/><xs:complexType name=\"identifier\"><xs:sequence>{codes}</xs:sequence>\
         <xs:attribute ref=\"id:objectType\" use=\"required\"/></xs:complexType></xs:schema>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_every_service_that_travels_as_a_message() {
        let text = document("cs.example");
        let tree = proto::xml::tree(text.as_bytes(), &proto::xml::Limits::default()).unwrap();
        let operations: Vec<&str> = tree
            .descendants()
            .filter(|node| {
                node.tag_name().name() == "binding"
                    && node.tag_name().namespace() == Some("http://schemas.xmlsoap.org/wsdl/")
            })
            .flat_map(|binding| binding.children().filter_map(|child| child.attribute("name")))
            .collect();
        assert_eq!(operations, SERVICES.map(|(name, _)| name));
        assert!(text.contains("https://cs.example:4002/managementservice/manage/"));
    }
}
