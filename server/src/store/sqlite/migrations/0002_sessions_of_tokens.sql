-- SHA-256, hex, of the API token that a session was made with: it ends with the token.
ALTER TABLE sessions ADD COLUMN token TEXT;
