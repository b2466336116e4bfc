"""The SDKs for Python: a line of JSON in, a line of JSON out. See python.mjs for the questions, judges.mjs for their meaning."""

import base64
import json
import os
import sys
import warnings
from datetime import datetime, timezone
from urllib.parse import parse_qsl

import Adyen.util
import anthropic
import discord_interactions
import gocardless_pro.webhooks
import linebot.v3.webhook
import openai
import pusher
import qstash
import razorpay
import slack_sdk.signature
import standardwebhooks
import stripe
import svix
import telnyx
from messagebird.request_validator import RequestValidator as MessageBirdValidator
from sendgrid.helpers.eventwebhook import EventWebhook
from square.utils.webhooks_helper import verify_signature as square_verify
from twilio.request_validator import RequestValidator as TwilioValidator
from workos import WorkOSClient


def passes(_):
    """For what throws on a refusal: it did not."""
    return True


def header(q, name):
    return q["headers"].get(name, "")


def form(q):
    return dict(parse_qsl(q["text"], keep_blank_values=True))


def sign_standard(library, prefix):
    def sign(q):
        signature = library.Webhook(q["secret"]).sign(q["id"], datetime.fromtimestamp(q["at"] // 1000, timezone.utc), q["text"])
        return {f"{prefix}-id": q["id"], f"{prefix}-timestamp": str(q["at"] // 1000), f"{prefix}-signature": signature}

    return sign


    def now(self):
        return self.seconds


def sign_slack(q):
    timestamp = str(q["at"] // 1000)
    signature = slack_sdk.signature.SignatureVerifier(q["secret"]).generate_signature(timestamp=timestamp, body=q["text"])
    return {"x-slack-request-timestamp": timestamp, "x-slack-signature": signature}


def sign_twilio(algorithm):
    def sign(q):
        validator = TwilioValidator(q["secret"])
        if q.get("form"):
            return {"x-twilio-signature": validator.compute_signature(q["url"], form(q), algorithm)}
        query = "bodySHA256=" + validator.compute_hash(q["text"])
        return {"query": query, "headers": {"x-twilio-signature": validator.compute_signature(f"{q['url']}?{query}", {}, algorithm)}}

    return sign


def verify_twilio(algorithm):
    def verify(q):
        url, params = (q["url"], form(q)) if q.get("form") else (f"{q['url']}?{q.get('query', '')}", q["text"])
        return TwilioValidator(q["secret"]).validate(url, params, header(q, "x-twilio-signature"), algorithm)

    return verify


def sign_adyen(q):
    notification = json.loads(q["text"])
    for item in notification["notificationItems"]:
        item = item["NotificationRequestItem"]
        item["additionalData"] = {"hmacSignature": Adyen.util.generate_notification_sig(item, q["secret"]).decode()}
    return {"headers": {}, "body_text": json.dumps(notification, ensure_ascii=False)}



# provider: (package, verify, sign or None)
JUDGES = {
    "stripe": ("stripe", lambda q: passes(stripe.Webhook.construct_event(q["bytes"], header(q, "stripe-signature"), q["secret"])), None),
    "standardwebhooks": (
        "standardwebhooks",
        lambda q: passes(standardwebhooks.Webhook(q["secret"]).verify(q["bytes"], q["headers"])),
        sign_standard(standardwebhooks, "webhook"),
    ),
    "svix": ("svix", lambda q: passes(svix.Webhook(q["secret"]).verify(q["bytes"], q["headers"])), sign_standard(svix, "svix")),
    "slack": ("slack_sdk", lambda q: slack_sdk.signature.SignatureVerifier(q["secret"]).is_valid_request(q["bytes"], q["headers"]), sign_slack),
    "twilio": ("twilio", verify_twilio("HMAC_SHA1"), sign_twilio("HMAC_SHA1")),
    "twilio-sha256": ("twilio", verify_twilio("HMAC_SHA256"), sign_twilio("HMAC_SHA256")),
    "square": (
        "squareup",
        lambda q: square_verify(
            request_body=q["text"], signature_header=header(q, "x-square-hmacsha256-signature"), signature_key=q["secret"], notification_url=q["url"]
        ),
        None,
    ),
    "line": ("line-bot-sdk", lambda q: linebot.v3.webhook.SignatureValidator(q["secret"]).validate(q["text"], header(q, "x-line-signature")), None),
    "razorpay": (
        "razorpay",
        lambda q: razorpay.Client(auth=("a", "b")).utility.verify_webhook_signature(q["text"], header(q, "x-razorpay-signature"), q["secret"]),
        None,
    ),
    "adyen": (
        "adyen",
        lambda q: all(Adyen.util.is_valid_hmac_notification(item["NotificationRequestItem"], q["secret"]) for item in json.loads(q["text"])["notificationItems"]),
        sign_adyen,
    ),
    "adyen-platform": (
        "adyen",
        lambda q: Adyen.util.is_valid_hmac_payload(header(q, "hmacsignature"), q["secret"], q["bytes"]),
        lambda q: {"hmacsignature": Adyen.util.generate_payload_sig(q["bytes"], q["secret"]).decode()},
    ),
    "sendgrid": (
        "sendgrid",
        lambda q: EventWebhook(q["publicKey"]).verify_signature(
            q["text"], header(q, "x-twilio-email-event-webhook-signature"), header(q, "x-twilio-email-event-webhook-timestamp")
        ),
        None,
    ),
    "telnyx": (
        "telnyx",
        lambda q: passes(telnyx.Telnyx(api_key="unused").webhooks.unwrap(q["text"], headers=q["headers"], key=q["publicKey"])),
        None,
    ),
    "discord": (
        "discord-interactions",
        lambda q: discord_interactions.verify_key(q["bytes"], header(q, "x-signature-ed25519"), header(q, "x-signature-timestamp"), q["publicKey"]),
        None,
    ),
    "gocardless": ("gocardless_pro", lambda q: passes(gocardless_pro.webhooks.parse(q["text"], q["secret"], header(q, "webhook-signature"))), None),
    "openai": ("openai", lambda q: passes(openai.OpenAI(api_key="unused").webhooks.unwrap(q["text"], q["headers"], secret=q["secret"])), None),
    "anthropic": (
        "anthropic",
        lambda q: passes(anthropic.Anthropic(api_key="unused").beta.webhooks.unwrap(q["text"], headers=q["headers"], key=q["secret"])),
        None,
    ),
    "pusher": (
        "pusher",
        lambda q: pusher.Pusher(app_id="1", key="key", secret=q["secret"]).validate_webhook(header(q, "x-pusher-key"), header(q, "x-pusher-signature"), q["text"]) is not None,
        None,
    ),
    "qstash": (
        "qstash",
        lambda q: passes(
            qstash.Receiver(current_signing_key=q["secret"], next_signing_key="sig_unused").verify(
                signature=header(q, "upstash-signature"), body=q["text"], url=q["url"]
            )
        ),
        None,
    ),
    "messagebird": (
        "messagebird",
        lambda q: passes(MessageBirdValidator(q["secret"]).validate_signature(header(q, "messagebird-signature-jwt"), q["url"], q["bytes"])),
        None,
    ),
    "workos": (
        "workos",
        lambda q: passes(
            WorkOSClient(api_key="sk_unused", client_id="unused").webhooks.verify_header(
                event_body=q["bytes"], event_signature=header(q, "workos-signature"), secret=q["secret"]
            )
        ),
        None,
    ),
}


def answer(question):
    op = question["op"]
    if op == "list":
        return {name: {"sdk": sdk, "signs": sign is not None} for name, (sdk, _, sign) in JUDGES.items()}
    _, verify, sign = JUDGES[question["provider"]]
    question["bytes"] = base64.b64decode(question["body"])
    question["text"] = question["bytes"].decode("utf-8")
    if op == "sign":
        return sign(question)
    return {"ok": bool(verify(question))}


def main():
    # Some SDKs print what they refuse, and warn of short keys; the answers go where nothing else does.
    answers, sys.stdout = sys.stdout, open(os.devnull, "w", encoding="utf-8")
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        try:
            said = answer(json.loads(line))
        except Exception as error:  # a refusal, of whatever kind the SDK chose
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=answers, flush=True)


main()
