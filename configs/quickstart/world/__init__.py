"""The quickstart's invented world: facts, the texts that state them, and exam questions about them."""
