#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes orders.jsonl: 1,000 orders, one JSON object a line, the same bytes every time.

Sizes follow what shops see: most orders have a few lines, some have dozens, and a few bulk orders are larger
than 4 KiB as a FlatBuffer. Only random() is drawn from the generator: its sequence is the one thing that
Python promises never to change for a seed.
"""
import json
import random
import sys

N_ORDERS = 1000
SEED = 20240229

FIRST = ["Ana", "Björn", "Chloé", "Đorđe", "Élodie", "Fatima", "Gülşen", "Håkon", "Íris", "João", "Kateřina",
         "Łukasz", "Mariana", "Nguyễn", "Oğuz", "Paweł", "Raúl", "Søren", "Tímea", "Ulrike", "Vít", "Яна",
         "Γιώργος", "美咲", "수빈", "李娜"]
LAST = ["Müller", "Nowak", "García", "Østergård", "Þórsdóttir", "Çelik", "Ferreira", "Kovács", "Lindqvist",
        "Okonkwo", "Papadopoulos", "Ruiz", "Šimůnek", "Tanaka", "Van den Berg", "Žižek", "Петрова", "佐藤", "김"]
KIND = ["BOLT", "CABLE", "FUSE", "HINGE", "LAMP", "MOTOR", "PUMP", "RELAY", "SEAL", "VALVE"]
TAGS = ["fragile", "gift", "größe-XL", "hazmat", "keep-dry", "oversize", "réfrigéré", "return", "sample", "urgent"]
NOTES = ["Please ring twice.", "Leave it with the neighbours at no. 12.", "Bitte nicht knicken!",
         "Livrer après 18 h, s'il vous plaît.", "Entrada por la calle de atrás.", "請放在門口。",
         "Forklift at gate 3, ask for Zoë.", "Part of a larger delivery; see the order before this one."]
PRIORITY = ["Normal"] * 8 + ["Express", "Freight"]

rng = random.Random(SEED)


def below(n):
    return int(rng.random() * n)


def pick(values):
    return values[below(len(values))]


def n_lines():
    sort = rng.random()
    if sort < 0.70:
        return 1 + below(4)
    if sort < 0.94:
        return 5 + below(16)
    if sort < 0.99:
        return 21 + below(30)
    return 60 + below(90)


def line():
    made = {"sku": f"{pick(KIND)}-{below(100000):05d}"}
    quantity = 1 if rng.random() < 0.5 else 1 + below(250)
    if quantity != 1:
        made["quantity"] = quantity
    made["price"] = {"units": below(10 ** (1 + below(4))), "nanos": below(100) * 10_000_000}
    if rng.random() < 0.02:
        made["price"]["nanos"] = below(1_000_000_000)
    if rng.random() < 0.4:
        made["tags"] = [pick(TAGS) for _ in range(1 + below(3))]
    return made


def order(number):
    made = {"id": 7_000_000_000 + number * 17 + below(17), "customer": f"{pick(FIRST)} {pick(LAST)}"}
    priority = pick(PRIORITY)
    if priority != "Normal":
        made["priority"] = priority
    made["lines"] = [line() for _ in range(n_lines())]
    if rng.random() < 0.25:
        made["coupons"] = [(1 + below(20)) * 250 for _ in range(1 + below(2))]
    if rng.random() < 0.35:
        made["note"] = " ".join(pick(NOTES) for _ in range(1 + below(3)))
    return made


def main():
    sys.stdout.reconfigure(encoding="utf-8")
    with open(sys.argv[1], "w", encoding="utf-8", newline="\n") if len(sys.argv) > 1 else sys.stdout as out:
        for number in range(N_ORDERS):
            out.write(json.dumps(order(number), ensure_ascii=False, separators=(",", ":")) + "\n")


main()
