# A simulation node: one static program, no shell, not root. The build's context
# is a folder with the program and the certificates of the authorities that it
# trusts; build.sh beside this file makes it.
FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY simnode /simnode
USER 65532:65532
# Other processes of the mesh.
EXPOSE 7400
STOPSIGNAL SIGTERM
ENTRYPOINT ["/simnode"]
