"""A small chat: one page, one WebSocket, one process. It shows what an app behind a WebSocketRoute looks like."""
