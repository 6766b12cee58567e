"""Whether a batch of events is genuine and fresh: python3 verify.py SECRETFILE SIGNATURE < BODY"""
import hmac, sys, time

def is_genuine(secret, signature, body):
    parts = dict(part.split("=", 1) for part in signature.split(","))
    mac = hmac.digest(secret, parts["t"].encode() + b"." + body, "sha256").hex()
    return hmac.compare_digest(mac, parts["v1"]) and abs(time.time() - int(parts["t"])) < 300

if __name__ == "__main__":
    secret = open(sys.argv[1], "rb").read().strip()
    sys.exit(not is_genuine(secret, sys.argv[2], sys.stdin.buffer.read()))
