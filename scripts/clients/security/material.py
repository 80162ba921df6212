"""What a secured broker and its clients need: authorities, certificates, users, and an issuer of tokens.

Everything is made anew for a run, with openssl and the standard library: nothing here shares code with the broker.
"""

import base64
import http.server
import json
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

AUDIENCE, ISSUER = "kafka", "https://issuer.example"
ADMIN, USER, STRANGER = "admin", "alice", "eve"
PASSWORDS = {ADMIN: "admin-password", USER: "alice-password,=", STRANGER: "eve-password"}


def openssl(*args, data=None):
    done = subprocess.run(["openssl"] + [str(arg) for arg in args], input=data, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise RuntimeError("openssl %s: %s" % (args[0], done.stderr.decode()[-500:]))
    return done.stdout


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def authority(at, name):
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=%s" % name,
            "-keyout", at / (name + ".key"), "-out", at / (name + ".pem"))


def certificate(at, name, subject, of, names=None):
    """A certificate with its key, and both in one file, as Java reads them."""
    request, extra = at / (name + ".csr"), at / (name + ".ext")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", at / (name + ".key"), "-out", request)
    extra.write_text("subjectAltName=%s\n" % names if names else "basicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", request, "-CA", at / (of + ".pem"), "-CAkey", at / (of + ".key"), "-days", "2",
            "-out", at / (name + ".pem"), "-extfile", extra)
    both = (at / (name + ".key")).read_text() + (at / (name + ".pem")).read_text()
    (at / (name + ".both.pem")).write_text(both)


class Issuer:
    """Signs tokens, and gives them and its keys to whoever asks (client credentials of RFC 6749 section 4.4)."""

    def __init__(self, at):
        self.key, self.forged = at / "issuer.key", at / "forger.key"
        for path in (self.key, self.forged):
            openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", path)
        modulus = openssl("rsa", "-in", self.key, "-noout", "-modulus").decode().strip().split("=")[1]
        self.keys = {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one", "e": "AQAB",
                               "n": base64url(bytes.fromhex(modulus))}]}
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, what):
                body = json.dumps(what).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):  # noqa: N802
                self.answer(issuer.keys)

            def do_POST(self):  # noqa: N802
                form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                named = urllib.parse.parse_qs(form).get("client_id", [""])[0]
                basic = self.headers.get("Authorization", "")
                if basic.startswith("Basic "):
                    named = urllib.parse.unquote(base64.b64decode(basic[6:]).decode().split(":")[0])
                self.answer({"access_token": issuer.of_client(named), "token_type": "Bearer", "expires_in": 600})

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, subject, seconds=600, forged=False, **changes):
        now = int(time.time())
        claims = {"sub": subject, "aud": AUDIENCE, "iss": ISSUER, "iat": now - 1200, "exp": now + seconds, **changes}
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT", "kid": "one"}, claims)]
        message = ".".join(map(base64url, parts))
        signature = openssl("dgst", "-sha256", "-sign", self.forged if forged else self.key, data=message.encode())
        return "%s.%s" % (message, base64url(signature))

    def of_client(self, name):
        """The tokens that are tried: a good one, or what is wrong with it."""
        return {
            "expired": lambda: self.token(USER, seconds=-600),
            "forged": lambda: self.token(USER, forged=True),
            "others": lambda: self.token(USER, aud="others"),
        }.get(name, lambda: self.token(name))()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Material:
    def __init__(self, at):
        self.at = Path(at)
        self.at.mkdir(parents=True, exist_ok=True)
        for name in ("ca", "stranger"):
            authority(self.at, name)
        certificate(self.at, "broker", "/CN=broker", "ca", "IP:127.0.0.1,DNS:localhost")
        certificate(self.at, "client", "/O=Example/CN=alice", "ca")
        certificate(self.at, "outsider", "/O=Example/CN=alice", "stranger")
        (self.at / "admin.password").write_text(PASSWORDS[ADMIN] + "\n")
        self.issuer = Issuer(self.at)

    def path(self, name):
        return str(self.at / name)

    def tls(self):
        """Settings of a broker."""
        return {"KAFSCALE_TLS_CERT_FILE": self.path("broker.pem"), "KAFSCALE_TLS_KEY_FILE": self.path("broker.key"),
                "KAFSCALE_AUTO_CREATE_PARTITIONS": "1"}

    def brokers(self):
        """Settings of the brokers: all mechanisms, certificates only, and TLS alone."""
        return {
            "sasl": {
                **self.tls(),
                "KAFSCALE_SASL_MECHANISMS": "OAUTHBEARER,SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
                "KAFSCALE_ADMIN_PASSWORD_FILE": self.path("admin.password"),
                "KAFSCALE_OAUTH_JWKS_URL": self.issuer.url + "/keys",
                "KAFSCALE_OAUTH_EXPECTED_AUDIENCE": AUDIENCE,
                "KAFSCALE_OAUTH_EXPECTED_ISSUER": ISSUER,
                "KAFSCALE_SUPER_USERS": "User:" + USER,
            },
            "mtls": {**self.tls(), "KAFSCALE_TLS_CLIENT_CA_FILE": self.path("ca.pem"),
                     "KAFSCALE_TLS_PRINCIPAL_MAPPING_RULES": "RULE:^CN=([^,]+),O=Example$/$1/",
                     "KAFSCALE_SUPER_USERS": "User:" + USER},
            "tls": self.tls(),
        }
