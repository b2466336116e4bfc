DROP TABLE learned_secret;
