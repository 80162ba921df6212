"""The cases that every client meets: how it connects, and what must come of it."""

from material import ADMIN, PASSWORDS, STRANGER, USER


def cases(addresses, material):
    """Each says where to connect (address, topic), with what (ca, cert and key, both in one file), as whom (mechanism, user,
    password; for OAUTHBEARER a token, or client and endpoint that give the same one), and what must come of it: wanted is
    empty, or what the refusal is about (sasl, tls, topic)."""
    def case(name, where="sasl", ca="ca.pem", own=None, mechanism="", user=USER, password=None, token="", wanted=""):
        return {
            "name": name, "address": addresses[where], "topic": "security-" + where, "ca": material.path(ca),
            "cert": material.path(own + ".pem") if own else "", "key": material.path(own + ".key") if own else "",
            "both": material.path(own + ".both.pem") if own else "", "mechanism": mechanism,
            "user": user if mechanism else "", "password": (PASSWORDS.get(user, "") if password is None else password)
            if mechanism else "", "client": token, "token": material.issuer.of_client(token) if token else "",
            "endpoint": material.issuer.url + "/token", "wanted": wanted,
        }
    # Not a case by itself: as whom the console tools make users and rules.
    yield case("admin", mechanism="SCRAM-SHA-256", user=ADMIN)
    yield case("tls", "tls")
    yield case("mtls", "mtls", own="client")
    for mechanism, name in (("PLAIN", "plain"), ("SCRAM-SHA-256", "scram-256"), ("SCRAM-SHA-512", "scram-512")):
        yield case(name, mechanism=mechanism)
        yield case(name + "/wrong-password", mechanism=mechanism, password="wrong", wanted="sasl")
        yield case(name + "/unknown-user", mechanism=mechanism, user="nobody", password="x", wanted="sasl")
    yield case("oauthbearer", mechanism="OAUTHBEARER", token=USER)
    for wrong in ("expired", "forged", "others"):
        yield case("oauthbearer/" + wrong, mechanism="OAUTHBEARER", token=wrong, wanted="sasl")
    yield case("tls/untrusted-broker", "tls", ca="stranger.pem", wanted="tls")
    yield case("mtls/no-certificate", "mtls", wanted="tls")
    yield case("mtls/untrusted-certificate", "mtls", own="outsider", wanted="tls")
    yield case("acl/no-rights", mechanism="PLAIN", user=STRANGER, wanted="topic")
