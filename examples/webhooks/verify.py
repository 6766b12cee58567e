"""Whether a batch of events is genuine and fresh: python3 verify.py SECRETFILE SIGNATURE < BODY"""
import hmac, sys, time

def is_genuine(secret, signature, body):
    parts = dict(part.partition("=")[::2] for part in signature.split(","))
    sent, given = parts.get("t", ""), parts.get("v1", "")
    mac = hmac.digest(secret, sent.encode() + b"." + body, "sha256").hex()
    return hmac.compare_digest(mac.encode(), given.encode()) and abs(time.time() - int(sent)) < 300

if __name__ == "__main__":
    secret = open(sys.argv[1], "rb").read().strip()
    sys.exit(not is_genuine(secret, sys.argv[2], sys.stdin.buffer.read()))
