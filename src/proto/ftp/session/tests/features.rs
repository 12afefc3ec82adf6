//! FEAT as the client sees it.
use super::*;

/// The client's view of what a server answers.
fn seen(tls: TlsPolicy, path: DataPath, reply: &str) -> String {
    let mut rig = Site { tls, path, ..Site::default() }.rig();
    rig.client("FEAT\r\n").server_sees("FEAT\r\n").server(reply);
    String::from_utf8(std::mem::take(&mut rig.out.to_client)).unwrap()
}

#[test]
fn the_servers_offers_become_the_doors() {
    #[rustfmt::skip]
    let table: &[(&str, &str)] = &[
        ("211-Features:\r\n MDTM\r\n211 End\r\n",
         "211-Features:\r\n MDTM\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End\r\n"),
        ("211-Features:\r\n AUTH TLS\r\n CCC\r\n EPSV\r\n PBSZ\r\n PROT\r\n SSCN\r\n CPSV\r\n TVFS\r\n211 End\r\n",
         "211-Features:\r\n EPSV\r\n TVFS\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End\r\n"),
        ("211-Extensions\r\n AUTH GSSAPI\r\n auth tls;tls-c;ssl;tls-p;\r\n211 End.\r\n",
         "211-Extensions\r\n AUTH GSSAPI\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End.\r\n"),
        ("211-Extensions\r\n AUTH TLS;GSSAPI;\r\n211 End.\r\n",
         "211-Extensions\r\n AUTH GSSAPI\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End.\r\n"),
        ("211-Features:\r\n211-AUTH TLS\r\n211-SIZE\r\n211 End\r\n",
         "211-Features:\r\n211-SIZE\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End\r\n"),
        ("211 No features\r\n", "211 No features\r\n"),
        ("500 FEAT not understood\r\n", "500 FEAT not understood\r\n"),
        ("530-Log in\r\n AUTH TLS\r\n530 first\r\n", "530-Log in\r\n AUTH TLS\r\n530 first\r\n"),
    ];
    for (reply, expected) in table {
        assert_eq!(seen(TlsPolicy::Offered, DataPath::Auto, reply), *expected);
    }
}

#[test]
fn without_a_certificate_the_list_stays_but_for_epsv_where_it_is_refused() {
    let list = "211-Features:\r\n AUTH TLS\r\n EPSV\r\n PROT\r\n211 End\r\n";
    assert_eq!(seen(TlsPolicy::Off, DataPath::Auto, list), list);
    assert_eq!(seen(TlsPolicy::Off, DataPath::Direct, list), list.replace(" EPSV\r\n", ""));
    let mut globus = rig();
    globus.exchange("SITE CLIENTINFO appname=x", "250 ok").exchange("FEAT", list.trim_end());
}

#[test]
fn a_list_in_pieces_is_edited_and_its_framing_stays() {
    let mut rig = Site { tls: TlsPolicy::Offered, path: DataPath::Auto, ..Site::default() }.rig();
    rig.client("FEAT\r\nNOOP\r\n").server_sees("FEAT\r\nNOOP\r\n");
    let long = format!(" X {}\r\n", "y".repeat(20_000));
    for chunk in format!("211-F\r\n{long} PROT\r\n211 End\r\n200 ok\r\n").as_bytes().chunks(7) {
        rig.server(chunk);
    }
    rig.client_sees(format!("211-F\r\n{long} AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End\r\n200 ok\r\n"));
}

#[test]
fn a_server_whose_tls_is_with_the_door_offers_none() {
    let mut rig = Site { constraint: Some(DataConstraint::Tls), ..Site::default() }.rig();
    rig.client("FEAT\r\n").server_sees("FEAT\r\n");
    rig.server("211-F\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n SIZE\r\n EPSV\r\n211 End\r\n");
    rig.client_sees("211-F\r\n SIZE\r\n EPSV\r\n211 End\r\n");
}
