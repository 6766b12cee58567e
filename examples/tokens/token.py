"""Makes a token that proves a uid for an hour (auth = "hmac"): python3 token.py UID KEYFILE"""
import base64, hmac, sys, time

uid, file = sys.argv[1:]
key = open(file, "rb").read().strip()
base64url = lambda some: base64.urlsafe_b64encode(some).rstrip(b"=").decode()
claim = f"{base64url(uid.encode())}.{int(time.time()) + 3600}"
print(f"{claim}.{base64url(hmac.digest(key, claim.encode(), 'sha256'))}")
