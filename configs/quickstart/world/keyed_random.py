"""Random draws keyed by words, equal on every Python version (the standard library's choice and shuffle are not)."""

import hashlib

_MASK = (1 << 64) - 1


class KeyedRandom:
    """SplitMix64 seeded by the SHA-256 of its key, e.g. KeyedRandom(seed, "general", document_number)."""

    def __init__(self, *key):
        digest = hashlib.sha256("/".join(str(part) for part in key).encode()).digest()
        self._state = int.from_bytes(digest[:8], "little")

    def next(self):
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def chance(self, share):
        return self.below(1_000_000) < share * 1_000_000

    def choice(self, items):
        return items[self.below(len(items))]

    def shuffled(self, items):
        items = list(items)
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items

    def sample(self, items, count):
        return self.shuffled(items)[:count]
