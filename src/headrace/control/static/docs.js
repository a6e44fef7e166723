// The API's reference, from this control node's own files: it works without the internet.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", deepLinking: true, docExpansion: "list", validatorUrl: null });
