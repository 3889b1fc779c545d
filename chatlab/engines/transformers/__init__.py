"""transformers and peft: any base that Chatlab can train, each adapter a model of its own on shared weights."""
